package suite

import (
	"reflect"
	"runtime/debug"
	"strings"
	"testing"
)

// Guard runs a hook of a Backend so that a failure in the hook is a failure of t. An engine belongs to the test that started it. If it
// cannot be started again, it may end that test instead of t. The goroutine of t would then end silently, or with a panic about a test that
// has completed.
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

// Guarded returns a Backend whose hooks run under Guard. Its hooks are the fields that are functions of a testing.TB.
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

// isHook reports whether a field is a function that takes the test that calls it.
func isHook(field reflect.Value) bool {
	return field.Kind() == reflect.Func && field.CanSet() && !field.IsNil() && !field.Type().IsVariadic() &&
		field.Type().NumIn() > 0 && field.Type().In(0) == reflect.TypeFor[testing.TB]()
}

// Hooks are the names of the hooks that a Backend has.
type Hooks map[string]bool

// HooksOf returns the names of the non-nil fields of a Backend that are functions or interfaces. A hook that injects a fault counts only
// together with the hook that ends it.
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

// Have reports whether all hooks of a phrase are present, such as "Cut, Beside and Compact". The empty phrase names none.
func (h Hooks) Have(phrase string) bool {
	for name := range strings.SplitSeq(strings.ReplaceAll(phrase, " and ", ", "), ", ") {
		if name != "" && !h[name] {
			return false
		}
	}
	return true
}
