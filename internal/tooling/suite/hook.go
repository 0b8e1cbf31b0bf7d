package suite

import (
	"reflect"
	"runtime/debug"
	"strings"
	"testing"
)

// Guard runs a hook of a Backend so that a failure in it is one of t. An engine belongs to the test that started it, and may end that
// one instead of t when it cannot be started again: the goroutine of t would end without a word, or with a panic about a test that has
// completed.
func Guard(t testing.TB, name string, hook func()) {
	t.Helper()
	returned := false
	defer func() {
		cause := recover()
		switch {
		case returned:
		case cause != nil:
			t.Fatalf("the hook %s failed: %v\n%s", name, cause, debug.Stack())
		case !t.Failed() && !t.Skipped():
			t.Fatalf("the hook %s ended another test: the output of the test that started the engine says why", name)
		}
	}()
	hook()
	returned = true
}

// Guarded returns a Backend whose hooks run under Guard: the fields that are functions of a testing.TB.
func Guarded[B any](backend B) B {
	fields := reflect.ValueOf(&backend).Elem()
	for i := range fields.NumField() {
		field, name := fields.Field(i), fields.Type().Field(i).Name
		if !isHook(field) {
			continue
		}
		hook := reflect.ValueOf(field.Interface())
		field.Set(reflect.MakeFunc(field.Type(), func(args []reflect.Value) (results []reflect.Value) {
			t := args[0].Interface().(testing.TB)
			t.Helper()
			Guard(t, name, func() { results = hook.Call(args) })
			return results
		}))
	}
	return backend
}

// isHook reports whether a field is a function that can be told which test calls it.
func isHook(field reflect.Value) bool {
	return field.Kind() == reflect.Func && field.CanSet() && !field.IsNil() && !field.Type().IsVariadic() &&
		field.Type().NumIn() > 0 && field.Type().In(0) == reflect.TypeFor[testing.TB]()
}

// Hooks are the names of the hooks that a Backend has.
type Hooks map[string]bool

// HooksOf returns the names of the fields of a Backend that are functions or interfaces, and not nil. A hook that makes a fault is
// there only with the one that ends it.
func HooksOf(backend any) Hooks {
	hooks := Hooks{}
	fields := reflect.ValueOf(backend)
	for i := range fields.NumField() {
		switch field := fields.Field(i); field.Kind() {
		case reflect.Func, reflect.Interface:
			hooks[fields.Type().Field(i).Name] = !field.IsNil()
		}
	}
	for fault, end := range map[string]string{
		"Kill": "Revive", "KillLeader": "Revive", "Pause": "Resume", "Cut": "Heal", "Drop": "Heal", "Slow": "Heal", "Lag": "Heal", "Break": "Heal",
	} {
		hooks[fault] = hooks[fault] && hooks[end]
	}
	return hooks
}

// Have reports whether all hooks of a phrase are there, such as "Cut, Beside and Compact". The empty phrase names none.
func (h Hooks) Have(phrase string) bool {
	for name := range strings.SplitSeq(strings.ReplaceAll(phrase, " and ", ", "), ", ") {
		if name != "" && !h[name] {
			return false
		}
	}
	return true
}
