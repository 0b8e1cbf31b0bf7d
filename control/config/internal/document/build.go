package document

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

	"github.com/go-os/go-os/control/config/driver"
)

// Builder builds values of a type from the documents of all sources. It is safe for concurrent use.
type Builder struct {
	Type         reflect.Type
	checker      *checker
	defaults     *defaultsTable
	allowUnknown bool
}

// NewBuilder returns a builder for a type. It returns driver.ErrInvalid with every tag and every type below it that cannot work.
func NewBuilder(t reflect.Type, allowUnknown bool) (*Builder, error) {
	badTags := checkTags(t)
	if err := checkType(t); err != nil {
		return nil, asErrors(errors.Join(badTags, err))
	}
	c, badRules := newChecker(t)
	d, badDefaults := newDefaultsTable(t)
	if err := errors.Join(badTags, badRules, badDefaults); err != nil {
		return nil, asErrors(err)
	}
	return &Builder{Type: t, checker: c, defaults: d, allowUnknown: allowUnknown}, nil
}

// WithoutRules returns a builder that checks types and keys, but neither rules nor Validate methods.
func (b *Builder) WithoutRules() *Builder {
	part := *b
	part.checker = nil
	return &part
}

// asErrors returns an error, or each error that it joins, as an *Error.
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
	if err == nil || errors.As(err, new(*driver.Error)) {
		return err
	}
	return &driver.Error{Err: err}
}

// Input is the contents of one source.
type Input struct {
	Source string
	Trees  []Tree
	// Suggest returns the most similar known name in the source, or nothing. A source with Suggest may hold names that do not belong to
	// the configuration, so its unknown keys are warnings.
	Suggest func(name string) string
}

// Result describes a value that Build has built.
type Result struct {
	Origins     Provenance
	Fingerprint string
	Version     string
	Warnings    []error
}

// Build decodes the sources into a pointer to a zero value of the type. It returns all mistakes.
func (b *Builder) Build(sources []Input, into any) (Result, error) {
	a := &account{allowUnknown: b.allowUnknown, suggest: map[string]func(string) string{}}
	var layers []layer
	for _, s := range sources {
		a.suggest[s.Source] = s.Suggest
		for i := range s.Trees {
			layers = append(layers, layer{s.Source, b.structured(b.withoutAnchors(&s.Trees[i]))})
		}
	}
	values, origins := merge(b.defaults.of(b.Type), layers)
	a.origins = origins
	if slices.ContainsFunc(layers, func(l layer) bool { return hasUnknownNull(l.Values, b.Type) }) {
		a.nulls(origins.root(), place{typ: b.Type})
	}
	(&decoder{account: a, defaults: b.defaults}).value(place{typ: b.Type}, values, reflect.ValueOf(into).Elem())
	if b.checker != nil {
		b.checker.check(into, a.misfits, func(path string, err error) { a.add(path, fmt.Errorf("%w: %w", driver.ErrInvalid, err)) })
	}
	out := Result{Origins: Provenance{origins, b.Type}, Warnings: a.warnings}
	out.Fingerprint, out.Version = fingerprint(sources)
	return out, a.err()
}

// withoutAnchors removes keys that the type does not have and that exist for their anchors.
func (b *Builder) withoutAnchors(t *Tree) *Tree {
	var surplus []string
	for _, key := range t.anchors {
		if place := (place{typ: b.Type}).key(key); place.typ == nil {
			surplus = append(surplus, key)
		}
	}
	if surplus == nil {
		return t
	}
	bare := *t
	bare.Values = maps.Clone(t.Values)
	for _, key := range surplus {
		delete(bare.Values, key)
	}
	return &bare
}

// structured parses the objects in the texts of a document, so that they can be merged with those of other sources.
func (b *Builder) structured(t *Tree) *Tree {
	if t.lines != nil { // only a document without text has values of type text
		return t
	}
	apart := *t
	apart.Values, _ = structuredValue(t.Values, place{typ: b.Type}).(map[string]any)
	return &apart
}

func structuredValue(v any, at place) any {
	switch v := v.(type) {
	case text:
		if at.typ == nil || shapeOf(at.typ) != table && shapeOf(at.typ) != object {
			return v
		}
		if group, err := structureFrom(string(v), reflect.TypeFor[map[string]any]()); err == nil {
			return group
		}
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, inner := range v {
			out[key] = structuredValue(inner, at.key(key))
		}
		return out
	}
	return v
}

// account collects the mistakes in a configuration.
type account struct {
	origins      *origins
	marks        map[string]*mark // by path; built when needed
	allowUnknown bool
	suggest      map[string]func(string) string // by source: unknown variables are warnings
	misfits      []string                       // paths of values that do not fit their types
	errs         []error
	warnings     []error
}

// MaxErrors is the largest number of mistakes that one error reports.
const MaxErrors = 20

func (a *account) err() error {
	slices.SortStableFunc(a.errs, func(x, y error) int {
		l, r := x.(*driver.Error), y.(*driver.Error)
		return cmp.Or(strings.Compare(l.Document, r.Document), cmp.Compare(l.Line, r.Line), strings.Compare(l.Key, r.Key))
	})
	if more := len(a.errs) - MaxErrors; more > 0 {
		return errors.Join(append(a.errs[:MaxErrors:MaxErrors], fmt.Errorf("config: and %d more", more))...)
	}
	return errors.Join(a.errs...)
}

// find returns the mark of a path, or of its nearest ancestor that was set, or nil.
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

// at adds the place where the path was set to an error.
func (a *account) at(path string, err error) *driver.Error {
	e := &driver.Error{Key: path, Err: err}
	if m := a.find(path); m != nil {
		if s, ok := m.last(); ok {
			e.Source, e.Document, e.Line = s.layer.source, s.layer.Name, s.layer.Line(path)
		}
	}
	return e
}

func (a *account) add(path string, err error) { a.errs = append(a.errs, a.at(path, err)) }

// nulls reports null keys that their structs do not have. The merged values no longer have them. The decoder reports those in lists.
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
			a.reportUnknown(key, at.typ, &driver.Error{Source: null.layer.source, Document: null.layer.Name, Line: null.line, Key: next.path})
		}
	}
}

// hasUnknownNull reports whether a null is at a key that its struct does not have. Unlike nulls, it needs no origins.
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

// reportUnknown reports an unknown key, given an error with its place.
func (a *account) reportUnknown(key string, owner reflect.Type, e *driver.Error) {
	near := a.suggest[e.Source]
	variable := near != nil && e.Key == JoinKey("", key) // not a key in the JSON of a variable
	meant := suggest(key, owner)
	if variable {
		meant = near(key)
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

// ignored warns about a value that is left out.
func (a *account) ignored(at place, why string) {
	a.warnings = append(a.warnings, a.at(at.path, fmt.Errorf("%w: %s", driver.ErrInvalid, why)))
}

// misfit reports a value that does not fit. It shows the value only if it is a scalar and not secret.
func (a *account) misfit(at place, err error) {
	a.misfits = append(a.misfits, at.path)
	var known *valueError
	if !errors.As(err, &known) {
		known = &valueError{want: describe(at.typ)}
	}
	misfit := &misfitError{bare: known.Error(), text: known.Error()}
	if !at.hidden && shapeOf(at.typ) == scalar {
		if s, ok := textOf(known.got); ok {
			misfit.text = fmt.Sprintf("%q %s", shorten(ShowText(s)), misfit.bare)
		} else if isNumber(known.got) {
			misfit.text = fmt.Sprintf("%s %s", shorten(Show(known.got)), misfit.bare)
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

// fingerprint returns a hash of the contents of all sources, and their versions joined.
func fingerprint(sources []Input) (print, version string) {
	h := sha256.New()
	var versions []string
	for _, s := range sources {
		_, _ = fmt.Fprintf(h, "%d %q\n", len(s.Trees), s.Source)
		for _, t := range s.Trees {
			digest := t.Digest
			if digest == nil {
				digest, _ = json.Marshal(t.Values)
			}
			_, _ = fmt.Fprintf(h, "%q %d ", t.Name, len(digest))
			_, _ = h.Write(digest)
			if t.Version != "" {
				versions = append(versions, t.Version)
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:6]), strings.Join(versions, "+")
}
