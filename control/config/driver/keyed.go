package driver

import "reflect"

// Key is a key of the configuration, for a source that sets keys one by one.
type Key struct {
	// Path of the key: the keys of the structs around it, and the key itself.
	Path []string
	// Type of its value.
	Type reflect.Type
}

// Keyed is a Source whose names depend on the keys of the configuration, such as the environment or flags. Each of its values is a [Document].
type Keyed interface {
	Source
	// Bind returns the source for a configuration with these keys. The key of a struct precedes the keys in it. Load calls Bind once, before
	// any Read, and returns its error, such as for two keys with the same name in the source.
	Bind(keys []Key) (Source, error)
}

// Suggester is a Source with names that may not belong to the configuration, such as the environment. Unknown keys of such a source are
// warnings, not errors.
type Suggester interface {
	Source
	// Suggest returns the known name that is most similar to an unknown one, or nothing.
	Suggest(name string) string
}

// Fixed is a Source whose values are fixed when the process starts. Run does not follow it, and Options.LastGood does not keep it. If Reload
// finds one of its documents invalid, the others still take effect.
type Fixed interface {
	Source
	// Fixed marks the source. It is not called.
	Fixed()
}

// Text is a value in a [Document.Tree] of a source that has only texts. The type of the key decides whether it is a text, a number, a boolean, a
// list or a map. A list is written with commas or as JSON. A map or a struct is written as a JSON object, which is merged with other
// sources. A plain string in a Tree is always a text.
type Text string
