package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// builder makes a value of a type out of layers.
type builder struct {
	typ          reflect.Type
	checker      *checker
	defaults     *defaultsTable
	allowUnknown bool
}

func newBuilder(t reflect.Type, allowUnknown bool) (*builder, error) {
	if err := checkType(t); err != nil {
		return nil, asErrors(err)
	}
	c, badRules := newChecker(t)
	d, badDefaults := newDefaultsTable(t)
	if err := errors.Join(badRules, badDefaults); err != nil {
		return nil, asErrors(err)
	}
	return &builder{typ: t, checker: c, defaults: d, allowUnknown: allowUnknown}, nil
}

// asErrors returns an error, or each of those that it joins, as an *Error.
func asErrors(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all := joined.Unwrap()
		if errors.Join(all...).Error() == err.Error() { // errors.Join made it, not fmt.Errorf
			errs := make([]error, len(all))
			for i, one := range all {
				errs[i] = asErrors(one)
			}
			return errors.Join(errs...)
		}
	}
	if err == nil || errors.As(err, new(*Error)) {
		return err
	}
	return &Error{Err: err}
}

// sourced are the documents of a source.
type sourced struct {
	source string
	trees  []tree
	env    *envSource // if the source is one
}

// built is what became of a set of documents.
type built struct {
	origins     *origins
	fingerprint string
	version     string
	warnings    []error
}

// build fills into, a pointer to a zero value of the type, or says all that is wrong.
func (b *builder) build(sources []sourced, into any) (built, error) {
	a := &account{allowUnknown: b.allowUnknown, env: map[string]*envSource{}}
	var layers []layer
	for _, s := range sources {
		a.env[s.source] = s.env
		for i := range s.trees {
			layers = append(layers, layer{s.source, b.withoutAnchors(&s.trees[i])})
		}
	}
	values, origins := merge(b.defaults.of(b.typ), layers)
	a.origins = origins
	if slices.ContainsFunc(layers, func(l layer) bool { return hasUnknownNull(l.values, b.typ) }) {
		a.nulls(origins.root(), place{typ: b.typ})
	}
	(&decoder{account: a, defaults: b.defaults}).value(place{typ: b.typ}, values, reflect.ValueOf(into).Elem())
	if b.checker != nil {
		b.checker.check(into, a.misfits, func(path string, err error) { a.add(path, fmt.Errorf("%w: %w", ErrInvalid, err)) })
	}
	out := built{origins: origins, warnings: a.warnings}
	out.fingerprint, out.version = fingerprint(sources)
	return out, a.err()
}

// withoutAnchors leaves out the keys of a document that the type does not have and that hold anchors.
func (b *builder) withoutAnchors(t *tree) *tree {
	var surplus []string
	for _, key := range t.anchors {
		if place := (place{typ: b.typ}).key(key); place.typ == nil {
			surplus = append(surplus, key)
		}
	}
	if surplus == nil {
		return t
	}
	bare := *t
	bare.values = maps.Clone(t.values)
	for _, key := range surplus {
		delete(bare.values, key)
	}
	return &bare
}

// account collects what is wrong with a configuration.
type account struct {
	origins      *origins
	marks        map[string]*mark // by path; made when it is needed
	allowUnknown bool
	env          map[string]*envSource // by source: unknown variables are warnings
	misfits      []string              // the paths of the values that do not fit their types
	errs         []error
	warnings     []error
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
		a.origins.root().index(a.marks)
	}
	for path != "" {
		if found := a.marks[path]; found != nil && (len(found.set) > 0 || len(found.below) > 0 || found.isGroup()) {
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

// nulls reports the keys that are null and that their structs do not have. The merged values hold no null; those in lists are left to
// the decoder.
func (a *account) nulls(m *mark, at place) {
	at = at.unwrapped()
	for key, child := range m.below {
		next := at.key(key)
		if next.typ != nil {
			a.nulls(child, next)
			continue
		}
		if child.isNull() && at.typ != nil && shapeOf(at.typ) == object {
			null := child.other
			a.reportUnknown(key, at.typ, &Error{Source: null.layer.source, Document: null.layer.name, Line: null.line, Key: next.path})
		}
	}
}

// hasUnknownNull reports whether values hold a null under a key that its struct does not have. It needs no origins, unlike nulls.
func hasUnknownNull(values map[string]any, t reflect.Type) bool {
	t = place{typ: t}.unwrapped().typ
	below := func(v any, t reflect.Type) bool {
		group, ok := v.(map[string]any)
		return ok && hasUnknownNull(group, t)
	}
	switch shapeOf(t) {
	case object:
		fields := fieldsOf(t)
		for key, v := range values {
			i := slices.IndexFunc(fields, func(f field) bool { return f.name == key })
			if i < 0 && v == nil || i >= 0 && below(v, fields[i].typ) {
				return true
			}
		}
	case table:
		for _, v := range values {
			if below(v, t.Elem()) {
				return true
			}
		}
	}
	return false
}

// unknown reports a key that a struct does not have.
func (a *account) unknown(at place, key string, owner reflect.Type) {
	a.reportUnknown(key, owner, a.at(at.path, nil))
}

// reportUnknown completes an error that has the place of an unknown key.
func (a *account) reportUnknown(key string, owner reflect.Type, e *Error) {
	env := a.env[e.Source]
	variable := env != nil && e.Key == join("", key) // not a key in the JSON of one
	meant := suggest(key, owner)
	if variable {
		meant = env.suggest(key)
	}
	e.Err = fmt.Errorf("%w", ErrUnknownKey)
	if meant != "" {
		e.Err = fmt.Errorf("%w: did you mean %s?", ErrUnknownKey, meant)
	}
	if a.allowUnknown || variable {
		a.warnings = append(a.warnings, e)
		return
	}
	a.errs = append(a.errs, e)
}

// ignored reports a value that is left out.
func (a *account) ignored(at place, why string) {
	a.warnings = append(a.warnings, a.at(at.path, fmt.Errorf("%w: %s", ErrInvalid, why)))
}

// misfit reports a value that does not fit. It shows the value only if it is a single one, and no secret.
func (a *account) misfit(at place, err error) {
	a.misfits = append(a.misfits, at.path)
	var known *valueError
	if !errors.As(err, &known) {
		known = &valueError{want: describe(at.typ)}
	}
	misfit := &misfitError{bare: known.Error(), text: known.Error()}
	if !at.hidden && shapeOf(at.typ) == scalar {
		if s, ok := textOf(known.got); ok {
			misfit.text = fmt.Sprintf("%q %s", shorten(showText(s)), misfit.bare)
		} else if isNumber(known.got) {
			misfit.text = fmt.Sprintf("%s %s", shorten(show(known.got)), misfit.bare)
		}
	}
	a.add(at.path, misfit)
}

func isNumber(v any) bool {
	switch v.(type) {
	case number, instant, bool:
		return true
	}
	return false
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
