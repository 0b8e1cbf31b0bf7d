package document

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/go-playground/validator/v10"
)

// selfChecker is config.Validator.
type selfChecker interface{ Validate() error }

// checker applies the rules of struct tags and the Validate methods.
type checker struct {
	rules *validator.Validate
}

func newChecker(t reflect.Type) (*checker, error) {
	rules, err := newRules(t)
	return &checker{rules}, err
}

// check reports the broken rules of a configuration, a pointer to a struct. Values at the paths of misfits are missing. If there are any,
// it reports no rule that may be broken for that reason, and calls no method.
func (c *checker) check(value any, misfits []string, report func(path string, err error)) {
	v := reflect.ValueOf(value).Elem()
	var found validator.ValidationErrors
	var err error
	if panicked := contained(func() { err = c.rules.Struct(value) }); panicked != nil {
		err = fmt.Errorf("a rule does not fit the value of an interface: %w", panicked) // newRules finds all others
	}
	switch {
	case errors.As(err, &found):
		for _, one := range found {
			if path := pathOf(v, one.StructNamespace()); !concerned(one.Tag(), path, misfits) {
				report(path, errors.New(demanded(one)))
			}
		}
	case err != nil && len(misfits) == 0:
		report("", err)
	}
	if len(misfits) > 0 {
		return
	}
	_ = (&validation{report, map[reflect.Type]bool{}}).value(v, place{typ: v.Type()})
}

// concerned reports whether misfits may be the reason for a broken rule: the rule reads such a value, or other fields.
func concerned(tag, path string, misfits []string) bool {
	if len(misfits) == 0 {
		return false
	}
	for _, other := range []string{"field", "required_", "excluded_", "skip_unless"} {
		if strings.Contains(tag, other) {
			return true
		}
	}
	return slices.ContainsFunc(misfits, func(misfit string) bool { return Within(path, misfit) || Within(misfit, path) })
}

// demanded describes the demand of a rule.
func demanded(e validator.FieldError) string {
	switch e.Tag() {
	case "required":
		return "is required, and missing or empty"
	case "min", "gte":
		return "must be at least " + e.Param() + count(e)
	case "max", "lte":
		return "must be at most " + e.Param() + count(e)
	case "gt":
		return "must be more than " + e.Param() + count(e)
	case "lt":
		return "must be less than " + e.Param() + count(e)
	case "len":
		return "must have exactly " + e.Param() + count(e)
	case "oneof":
		return "must be one of " + strings.Join(strings.Fields(e.Param()), ", ")
	}
	if e.Param() == "" {
		return "breaks the rule " + e.Tag()
	}
	return "breaks the rule " + e.Tag() + "=" + e.Param()
}

func count(e validator.FieldError) string {
	switch e.Kind() {
	case reflect.String:
		return " characters long"
	case reflect.Slice, reflect.Map, reflect.Array:
		return " elements"
	default:
		return ""
	}
}

// pathOf converts a position in Go names, "Shop.DB.Servers[0].Port", to the path of its key.
func pathOf(v reflect.Value, namespace string) string {
	at := place{typ: v.Type()}
	_, rest, _ := strings.Cut(namespace, ".") // the first name is the type
	for rest != "" {
		v, at = revealed(v, at)
		switch {
		case v.Kind() == reflect.Struct:
			name := rest[:strings.IndexAny(rest+".", ".[")]
			parts := partsOf(v.Type())
			i := slices.IndexFunc(parts, func(p part) bool { return p.Name == name })
			if i < 0 {
				return JoinKey(at.path, rest) // a field without a key
			}
			v, at, rest = v.FieldByIndex(parts[i].Index), at.part(parts[i]), strings.TrimPrefix(rest[len(name):], ".")
		case v.Kind() == reflect.Map:
			key, ok := keyAt(v, rest)
			if !ok {
				return at.path
			}
			at = at.entry(key.String(), v.Type().Elem())
			rest = strings.TrimPrefix(rest[len("[]")+len(fmt.Sprint(key)):], ".")
			v = v.MapIndex(key)
		case v.Kind() == reflect.Slice || v.Kind() == reflect.Array:
			index, after, _ := strings.Cut(strings.TrimPrefix(rest, "["), "]")
			i, err := strconv.Atoi(index)
			if err != nil || i >= v.Len() {
				return at.path
			}
			v, at, rest = v.Index(i), at.element(i, v.Type().Elem()), strings.TrimPrefix(after, ".")
		default:
			return at.path
		}
	}
	return at.path
}

// keyAt returns the longest key of a map that is a prefix of a position. Keys may contain brackets and dots.
func keyAt(m reflect.Value, position string) (best reflect.Value, ok bool) {
	length := -1
	for _, key := range m.MapKeys() {
		text := fmt.Sprint(key)
		if len(text) > length && strings.HasPrefix(position, "["+text+"]") {
			best, length, ok = key, len(text), true
		}
	}
	return best, ok
}

// revealed returns the value behind pointers and in Secrets.
func revealed(v reflect.Value, at place) (reflect.Value, place) {
	for {
		switch {
		case v.Kind() == reflect.Pointer && !v.IsNil():
			v = v.Elem()
		case v.Kind() == reflect.Struct && isSecret(v.Type()):
			v, at.hidden = reflect.ValueOf(v.Interface().(secret).inner()), true
		default:
			at.typ = v.Type()
			return v, at
		}
	}
}

// validation calls the Validate methods of a configuration, the parts before the whole.
type validation struct {
	report  func(path string, err error)
	methods map[reflect.Type]bool // whether a type, or one below it, has the method
}

// value validates the value at one place. It returns the error of its own method.
func (i *validation) value(v reflect.Value, at place) error {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	t := v.Type()
	if isSecret(t) {
		i.secret(v, at)
		return nil
	}
	var embedded []error
	switch shape := shapeOf(t); {
	case shape == object:
		embedded = i.parts(v, at)
	case shape == list && i.anyBelow(t.Elem()):
		for n := range v.Len() {
			_ = i.value(v.Index(n), at.element(n, t.Elem()))
		}
	case shape == table && (i.anyBelow(t.Elem()) || i.anyBelow(t.Key())):
		i.entries(v, at)
	}
	return i.self(v, at, embedded)
}

// parts validates the fields of a struct. It returns the errors of embedded fields, whose methods may be promoted.
func (i *validation) parts(v reflect.Value, at place) (embedded []error) {
	for _, p := range partsOf(v.Type()) {
		inner := v.FieldByIndex(p.Index)
		if !p.IsExported() { // embedded and squashed: its fields belong to the configuration nevertheless
			inner = reflect.NewAt(p.Type, inner.Addr().UnsafePointer()).Elem()
		}
		if err := i.value(inner, at.part(p)); err != nil && p.Anonymous {
			embedded = append(embedded, err)
		}
	}
	return embedded
}

// secret validates a copy of the value in a Secret, and stores the copy.
func (i *validation) secret(v reflect.Value, at place) {
	inner := reflect.New(secretType(v.Type())).Elem()
	if held := reflect.ValueOf(v.Interface().(secret).inner()); held.IsValid() {
		inner.Set(held)
	}
	_ = i.value(inner, place{path: at.path, typ: inner.Type(), hidden: true})
	v.Addr().Interface().(settable).conceal(inner)
}

// entries validates copies of the keys and elements of a map, since Go has no pointers to them. It stores the copies of elements.
func (i *validation) entries(v reflect.Value, at place) {
	for _, key := range v.MapKeys() {
		k, element := reflect.New(key.Type()).Elem(), reflect.New(v.Type().Elem()).Elem()
		k.Set(key)
		element.Set(v.MapIndex(key))
		next := at.entry(key.String(), element.Type())
		_ = i.value(k, next)
		_ = i.value(element, next)
		v.SetMapIndex(key, element)
	}
}

// self calls the Validate method of v. It omits errors that an embedded struct has already reported.
func (i *validation) self(v reflect.Value, at place, embedded []error) error {
	method, ok := v.Addr().Interface().(selfChecker)
	if !ok {
		return nil
	}
	err := callValidate(method)
	if err == nil || slices.ContainsFunc(embedded, func(e error) bool { return e.Error() == err.Error() }) {
		return err
	}
	if at.hidden {
		i.report(at.path, errors.New("is refused by its method Validate, whose message is not shown since the value is secret"))
	} else {
		i.report(at.path, err)
	}
	return err
}

// anyBelow reports whether a type, or one below it, has a Validate method.
func (i *validation) anyBelow(t reflect.Type) bool {
	known, ok := i.methods[t]
	if !ok {
		known = reaches(t, func(at place) bool { return reflect.PointerTo(at.typ).Implements(typeOfValidator) })
		i.methods[t] = known
	}
	return known
}

// callValidate calls Validate, and returns a panic as an error: a bug in a check must not end the program.
func callValidate(v selfChecker) (err error) {
	if panicked := contained(func() { err = v.Validate() }); panicked != nil {
		return fmt.Errorf("method Validate panicked: %w", panicked)
	}
	return err
}
