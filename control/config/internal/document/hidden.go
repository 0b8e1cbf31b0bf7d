package document

import "reflect"

// HiddenValue is a value that printers do not show. A config.Secret embeds it.
type HiddenValue[T any] struct {
	_     [0]func() // makes == an error at compile time: it would compare pointers
	value **T       // nil for the zero value of T, so that equal secrets are deeply equal; fmt follows one pointer for a wrong verb
}

// Hide returns a HiddenValue that holds value.
func Hide[T any](value T) HiddenValue[T] {
	if reflect.ValueOf(&value).Elem().IsZero() {
		return HiddenValue[T]{}
	}
	inner := &value
	return HiddenValue[T]{value: &inner}
}

// Reveal returns the value.
func (h HiddenValue[T]) Reveal() (value T) {
	if h.value != nil {
		return **h.value
	}
	return value
}

// secret is the interface of types that embed a HiddenValue.
type secret interface {
	inner() any
	innerType() reflect.Type
}

// settable is the interface of pointers to such types.
type settable interface {
	secret
	conceal(value reflect.Value)
}

func (h HiddenValue[T]) inner() any { return h.Reveal() }

func (HiddenValue[T]) innerType() reflect.Type { return reflect.TypeFor[T]() }

func (h *HiddenValue[T]) conceal(value reflect.Value) {
	v, _ := value.Interface().(T) // not ok for a nil of an interface type: then v is nil too
	*h = Hide(v)
}
