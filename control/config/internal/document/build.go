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

// Builder makes values of a type out of the documents of all sources. It is safe for concurrent use.
type Builder struct {
	Type         reflect.Type
	checker      *checker
	defaults     *defaultsTable
	allowUnknown bool
}

// NewBuilder returns a builder for a type. It returns driver.ErrInvalid for every tag and every type below it that cannot work.
func NewBuilder(t reflect.Type, allowUnknown bool) (*Builder, error) {
	if err := checkType(t); err != nil {
		return nil, asErrors(err)
	}
	c, badRules := newChecker(t)
	d, badDefaults := newDefaultsTable(t)
	if err := errors.Join(badRules, badDefaults); err != nil {
		return nil, asErrors(err)
	}
	return &Builder{Type: t, checker: c, defaults: d, allowUnknown: allowUnknown}, nil
}

// WithoutRules returns a builder that checks types and keys, and neither rules nor methods Validate.
func (b *Builder) WithoutRules() *Builder {
	part := *b
	part.checker = nil
	return &part
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
	if err == nil || errors.As(err, new(*driver.Error)) {
		return err
	}
	return &driver.Error{Err: err}
}

// Input is what one source holds.
type Input struct {
	Source string
	Trees  []Tree
	// Suggest returns what the source calls the key that an unknown one was probably meant to be, or nothing. A source that has it may
	// hold what is not the configuration's: its unknown keys are warnings.
	Suggest func(name string) string
}

// Result is what Build found out about a value, beside the value itself.
type Result struct {
	Origins     Provenance
	Fingerprint string
	Version     string
	Warnings    []error
}

// Build fills into, a pointer to a zero value of the type, or says all that is wrong.
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

// withoutAnchors leaves out the keys of a document that the type does not have and that hold anchors.
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

// structured takes the objects in the texts of a document apart, so that they are merged with what other sources have.
func (b *Builder) structured(t *Tree) *Tree {
	if t.lines != nil { // only a document without text holds texts
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

// account collects what is wrong with a configuration.
type account struct {
	origins      *origins
	marks        map[string]*mark // by path; made when it is needed
	allowUnknown bool
	suggest      map[string]func(string) string // by source: unknown variables are warnings
	misfits      []string                       // the paths of the values that do not fit their types
	errs         []error
	warnings     []error
}

// MaxErrors is how many mistakes one error reports.
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
			a.reportUnknown(key, at.typ, &driver.Error{Source: null.layer.source, Document: null.layer.Name, Line: null.line, Key: next.path})
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
func (a *account) reportUnknown(key string, owner reflect.Type, e *driver.Error) {
	near := a.suggest[e.Source]
	variable := near != nil && e.Key == JoinKey("", key) // not a key in the JSON of one
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

// ignored reports a value that is left out.
func (a *account) ignored(at place, why string) {
	a.warnings = append(a.warnings, a.at(at.path, fmt.Errorf("%w: %s", driver.ErrInvalid, why)))
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

// Fingerprint hashes everything that the sources hold, and joins their versions.
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
