package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// builder makes a value of a type out of layers.
type builder struct {
	typ          reflect.Type
	checker      *checker
	defaults     map[string]any
	allowUnknown bool
}

func newBuilder(t reflect.Type, allowUnknown bool) (*builder, error) {
	if err := checkType(t); err != nil {
		return nil, err
	}
	c, err := newChecker(t)
	if err != nil {
		return nil, err
	}
	return &builder{typ: t, checker: c, defaults: defaults(t, nil), allowUnknown: allowUnknown}, nil
}

// sourced are the documents of a source.
type sourced struct {
	source  string
	trees   []tree
	lenient bool // unknown keys are warnings
}

// built is what became of a set of documents.
type built struct {
	root        *mark
	hidden      map[string]bool
	fingerprint string
	version     string
	warnings    []error
}

// build fills into, a pointer to a zero value of the type, or says all that is wrong.
func (b *builder) build(sources []sourced, into any) (built, error) {
	var layers []layer
	lenient := map[string]bool{}
	for _, s := range sources {
		lenient[s.source] = s.lenient
		for i := range s.trees {
			layers = append(layers, layer{s.source, &s.trees[i]})
		}
	}
	m, err := merge(b.defaults, layers)
	if err != nil {
		return built{}, &Error{Err: fmt.Errorf("%w: %w", ErrInvalid, err)}
	}
	out := built{root: m.root, hidden: map[string]bool{}}
	out.fingerprint, out.version = fingerprint(sources)
	a := &account{root: m.root, places: map[string]visit{}}
	walk(m.values, b.typ, visit{}, func(v visit) {
		a.places[v.name] = v
		if v.hidden {
			out.hidden[v.path] = true
		}
		if v.typ == nil {
			out.hidden[v.path] = true // it may be a secret whose name is misspelt
			a.unknown(v, b.allowUnknown, lenient)
		}
	})
	for _, path := range a.drop {
		remove(m.values, path)
	}
	fill(m.values, b.typ)
	b.decode(m.values, into, a)
	out.warnings = a.warnings
	return out, a.err()
}

func (b *builder) decode(values map[string]any, into any, a *account) {
	if err := decode(values, into); err != nil {
		problems(err, func(name string, err error) { a.misfit(a.places[name], name, err) })
		return
	}
	if b.checker == nil {
		return
	}
	b.checker.check(into, func(path string, err error) { a.add(path, fmt.Errorf("%w: %w", ErrInvalid, err)) })
}

// account collects what is wrong with a configuration.
type account struct {
	root     *mark
	marks    map[string]*mark // by path; made when it is needed
	places   map[string]visit // by mapstructure's names
	errs     []error
	warnings []error
	drop     []visit
}

// maxErrors is how many mistakes are told at a time.
const maxErrors = 20

func (a *account) err() error {
	slices.SortStableFunc(a.errs, func(x, y error) int {
		l, r := x.(*Error), y.(*Error)
		return cmp.Or(strings.Compare(l.Document, r.Document), cmp.Compare(l.Line, r.Line), strings.Compare(l.Key, r.Key))
	})
	if more := len(a.errs) - maxErrors; more > 0 {
		return errors.Join(append(a.errs[:maxErrors:maxErrors], fmt.Errorf("config: and %d more", more))...)
	}
	return errors.Join(a.errs...)
}

// find returns the mark of a path, or the nearest above it that was set, or nil.
func (a *account) find(path string) *mark {
	if a.marks == nil {
		a.marks = map[string]*mark{}
		a.root.index(a.marks)
	}
	for path != "" {
		if found := a.marks[path]; found != nil && (len(found.set) > 0 || len(found.below) > 0) {
			return found
		}
		path = above(path)
	}
	return nil
}

// at returns an error that knows where the path was set.
func (a *account) at(path string, err error) *Error {
	e := &Error{Key: path, Err: err}
	if m := a.find(path); m != nil {
		if s, ok := m.last(); ok {
			e.Source, e.Document, e.Line = s.layer.source, s.layer.name, s.layer.line(path)
		}
	}
	return e
}

func (a *account) add(path string, err error) { a.errs = append(a.errs, a.at(path, err)) }

func (a *account) unknown(v visit, allow bool, lenient map[string]bool) {
	err := fmt.Errorf("%w", ErrUnknownKey)
	if meant := suggest(v.key, v.owner); meant != "" {
		err = fmt.Errorf("%w: did you mean %s?", ErrUnknownKey, meant)
	}
	e := a.at(v.path, err)
	if allow || lenient[e.Source] {
		a.warnings = append(a.warnings, e)
		a.drop = append(a.drop, v)
		return
	}
	a.errs = append(a.errs, e)
	a.drop = append(a.drop, v) // so that what else is wrong is told at once
}

// misfit reports a value that does not fit. It shows the value only if it is a single one of a key that is known, and no secret.
func (a *account) misfit(v visit, name string, err error) {
	path := v.path
	if path == "" {
		path = name
	}
	var known *valueError
	if !errors.As(err, &known) {
		want := "what it should be"
		if v.typ != nil {
			want = describe(v.typ)
		}
		known = &valueError{want: want}
	}
	misfit := &misfitError{bare: known.Error(), text: known.Error()}
	if s, ok := textOf(known.got); ok && !v.hidden && v.typ != nil && shapeOf(v.typ) == scalar {
		misfit.text = fmt.Sprintf("%q %s", showText(s), misfit.bare)
	} else if known.got != nil && !v.hidden && v.typ != nil && shapeOf(v.typ) == scalar && isNumber(known.got) {
		misfit.text = fmt.Sprintf("%s %s", show(known.got, false), misfit.bare)
	}
	a.add(path, fmt.Errorf("%w: %w", ErrInvalid, misfit))
}

// misfitError is an error that shows a value. Who gets it has the value anyway; telemetry and reports get it bare.
type misfitError struct{ text, bare string }

func (e *misfitError) Error() string { return e.text }

// bareError is an error as it may be told to everybody.
type bareError struct {
	text string
	err  error
}

func (e *bareError) Error() string { return e.text }
func (e *bareError) Unwrap() error { return e.err }

// bare takes the values out of the text of an error.
func bare(err error) error {
	text := err.Error()
	eachError(err, func(one error) {
		if m, ok := one.(*misfitError); ok {
			text = strings.Replace(text, m.text, m.bare, 1)
		}
	})
	return &bareError{text, err}
}

// eachError visits an error and all that it wraps.
func eachError(err error, visit func(error)) {
	visit(err)
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			eachError(one, visit)
		}
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			eachError(inner, visit)
		}
	}
}

func isNumber(v any) bool {
	switch v.(type) {
	case int, int64, uint64, float64, bool:
		return true
	}
	return false
}

// remove takes an unknown key out of the values.
func remove(values map[string]any, v visit) {
	for key, inner := range values {
		path := v.path
		if key == v.key && path == join("", key) {
			delete(values, key)
			return
		}
		if group, ok := inner.(map[string]any); ok {
			if rest, below := strings.CutPrefix(path, join("", key)+"."); below {
				remove(group, visit{path: rest, key: v.key})
			}
		}
		if elements, ok := inner.([]any); ok {
			for i, element := range elements {
				group, isGroup := element.(map[string]any)
				if rest, below := strings.CutPrefix(path, item(join("", key), i)+"."); below && isGroup {
					remove(group, visit{path: rest, key: v.key})
				}
			}
		}
	}
}

// fingerprint hashes everything that the sources hold, and joins their versions.
func fingerprint(sources []sourced) (print, version string) {
	h := sha256.New()
	var versions []string
	for _, s := range sources {
		_, _ = fmt.Fprintf(h, "%d %q\n", len(s.trees), s.source)
		for _, t := range s.trees {
			digest := t.digest
			if digest == nil {
				digest, _ = json.Marshal(t.values)
			}
			_, _ = fmt.Fprintf(h, "%q %d ", t.name, len(digest))
			_, _ = h.Write(digest)
			if t.version != "" {
				versions = append(versions, t.version)
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:6]), strings.Join(versions, "+")
}
