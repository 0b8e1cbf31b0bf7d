package config

import "reflect"

// View is a part of a configuration, for a component that needs no other part.
type View[V any] struct {
	get      func() *V
	onChange func(func(old, new *V)) func()
}

// NewView returns the part of c that pick selects. pick must have no side effects, and must not return nil:
//
//	limits := config.NewView(cfg, func(s *Shop) *Limits { return &s.Limits })
func NewView[T, V any](c *Config[T], pick func(*T) *V) *View[V] {
	return &View[V]{
		get: func() *V { return pick(c.Get()) },
		onChange: func(fn func(old, new *V)) func() {
			if fn == nil {
				return func() {}
			}
			stop, _ := c.OnChange("", func(old, new *T) {
				if a, b := pick(old), pick(new); !reflect.DeepEqual(a, b) {
					fn(a, b)
				}
			})
			return stop
		},
	}
}

// Get returns the part in force. Callers must not change it.
func (v *View[V]) Get() *V { return v.get() }

// OnChange calls fn after every change of the part, as Config.OnChange does. stop ends the calls. A nil fn is ignored.
func (v *View[V]) OnChange(fn func(old, new *V)) (stop func()) { return v.onChange(fn) }
