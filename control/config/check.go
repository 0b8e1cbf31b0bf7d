package config

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/go-playground/validator/v10"
)

// Validator is implemented by a configuration, or a part of one, that checks itself. It may also complete itself: nobody else
// sees it before it has passed. The parts are asked before the whole.
type Validator interface {
	Validate() error
}

// checker applies the rules of struct tags.
type checker struct {
	rules *validator.Validate
}

// newChecker returns the rules of a type, or an error if a tag is not one.
func newChecker(t reflect.Type) (c *checker, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: the tags `validate` of %s: %v", ErrInvalid, t, v)
		}
	}()
	c = &checker{rules: validator.New(validator.WithRequiredStructEnabled())}
	if secrets := secretTypes(nil, t, nil); len(secrets) > 0 {
		c.rules.RegisterCustomTypeFunc(func(v reflect.Value) any { return v.Interface().(secret).inner() }, secrets...)
	}
	_ = c.rules.Struct(reflect.New(t).Interface()) // panics if a rule does not exist
	return c, nil
}

// secretTypes returns a value of each Secret type below t.
func secretTypes(all []any, t reflect.Type, above []reflect.Type) []any {
	t = indirect(t)
	for _, known := range above {
		if known == t {
			return all
		}
	}
	above = append(above, t)
	switch {
	case isSecret(t):
		return append(all, reflect.Zero(t).Interface())
	case shapeOf(t) == object:
		for _, f := range fieldsOf(t) {
			all = secretTypes(all, f.typ, above)
		}
	case shapeOf(t) == table, shapeOf(t) == list:
		return secretTypes(all, t.Elem(), above)
	}
	return all
}

// check tells what is wrong with a configuration.
func (c *checker) check(value any, tell func(path string, err error)) {
	var found validator.ValidationErrors
	err := c.rules.Struct(value)
	switch {
	case errors.As(err, &found):
		for _, one := range found {
			tell(pathOf(reflect.TypeOf(value).Elem(), one.StructNamespace()), errors.New(rule(one)))
		}
	case err != nil:
		tell("", err)
	}
	validate(reflect.ValueOf(value), "", tell)
}

// rule says what a tag demands.
func rule(e validator.FieldError) string {
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

// pathOf turns a place in Go's names, "Shop.DB.Servers[0].Port", into the path of its key.
func pathOf(t reflect.Type, namespace string) (path string) {
	parts := split(namespace)
	for _, part := range parts[min(1, len(parts)):] { // the first is the type
		name, rest, _ := strings.Cut(part, "[")
		t = indirect(t)
		f, ok := reflect.StructField{}, false
		if t.Kind() == reflect.Struct {
			f, ok = t.FieldByName(name)
		}
		if !ok {
			return join(path, part)
		}
		key, options, _ := strings.Cut(f.Tag.Get(tagName), ",")
		switch {
		case has(options, "squash"):
		case key == "":
			path = join(path, snake(name))
		default:
			path = join(path, key)
		}
		t = f.Type
		for _, index := range strings.Split(strings.TrimSuffix(rest, "]"), "][") {
			if rest == "" {
				break
			}
			t = indirect(t)
			if t.Kind() == reflect.Map {
				path = join(path, index)
			} else {
				path += "[" + index + "]"
			}
			t = t.Elem()
		}
	}
	return path
}

// split cuts at the dots that are not within brackets.
func split(namespace string) (parts []string) {
	depth, from := 0, 0
	for i, c := range namespace {
		switch c {
		case '[':
			depth++
		case ']':
			depth--
		case '.':
			if depth == 0 {
				parts = append(parts, namespace[from:i])
				from = i + 1
			}
		}
	}
	return append(parts, namespace[from:])
}

// validate asks the Validators below v, and then v.
func validate(v reflect.Value, path string, tell func(string, error)) {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	switch shapeOf(v.Type()) {
	case object:
		for _, f := range fieldsOf(v.Type()) {
			if inner, err := v.FieldByIndexErr(f.index); err == nil {
				validate(inner, join(path, f.name), tell)
			}
		}
	case list:
		for i := range v.Len() {
			validate(v.Index(i), item(path, i), tell)
		}
	case table:
		for it := v.MapRange(); it.Next(); {
			validate(it.Value(), join(path, it.Key().String()), tell)
		}
	}
	if v.CanAddr() {
		v = v.Addr()
	}
	if self, ok := v.Interface().(Validator); ok {
		if err := ask(self); err != nil {
			tell(path, err)
		}
	}
}

// ask contains a panic: a check that fails must not end the program.
func ask(v Validator) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("method Validate panicked: %v", p)
		}
	}()
	return v.Validate()
}
