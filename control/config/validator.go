package config

// Validator is implemented by a configuration, or a part of one, that checks itself. Validate is called for every value whose type,
// or a pointer to it, has the method: fields, squashed structs, elements, map keys, and what Secrets hold. Parts are called before
// the whole. A method may also complete its value: nobody else sees it before it has passed; changes to a map key are lost. It may be
// called twice for an embedded struct, since the struct around it has the method, too.
//
// No method is called while a value does not fit its type.
type Validator interface {
	Validate() error
}
