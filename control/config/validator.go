package config

// Validator is implemented by a configuration, or a part of one, that checks itself. Validate is called on every value whose type, or a
// pointer to it, has the method: fields, squashed structs, elements, map keys, and values of Secrets. Parts are checked before the whole. The
// method may also complete its value, which is not in use before all checks have passed; changes to a map key are lost. It may be called
// twice for an embedded struct, since the outer struct has the method, too.
//
// While a value does not fit its type, no method is called.
type Validator interface {
	Validate() error
}
