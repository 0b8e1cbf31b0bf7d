package kv

import (
	"fmt"
	"unicode/utf8"
)

// Namespace returns a store of the keys of s that begin with a name and a slash, such as "prod/orders/". Its keys omit that prefix. A
// call costs one concatenation. Namespaces nest.
//
// A namespace shares the driver and the telemetry of s. Closing it ends its watches and later calls, and leaves s open. Closing s
// closes it, too. If the name is empty or not UTF-8, every call returns ErrInvalid.
func (s *Store) Namespace(name string) *Store {
	ns := &Store{engine: s.engine, parent: s, prefix: s.prefix + name + "/", fault: s.fault}
	if ns.fault == nil && (name == "" || !utf8.ValidString(name)) {
		ns.fault = fmt.Errorf("%w: %q is no name for a namespace: use UTF-8 that is not empty", ErrInvalid, name)
	}
	return ns
}
