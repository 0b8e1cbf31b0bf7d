package kv

import (
	"fmt"
	"unicode/utf8"
)

// Namespace returns the part of a store below a name, such as "prod/orders", as a store of its own: its keys are those of
// s that begin with the name and a slash, without them. It costs a concatenation for each call. Namespaces nest.
//
// It shares the driver and the telemetry of s. Closing it ends its watches and later calls, and leaves s open; closing s
// closes it too. A name that is empty or not UTF-8 makes every call fail with ErrInvalid.
func Namespace(s *Store, name string) *Store {
	ns := &Store{engine: s.engine, parent: s, prefix: s.prefix + name + "/", fault: s.fault}
	if ns.fault == nil && (name == "" || !utf8.ValidString(name)) {
		ns.fault = fmt.Errorf("%w: %q is no name for a namespace: use UTF-8 that is not empty", ErrInvalid, name)
	}
	return ns
}
