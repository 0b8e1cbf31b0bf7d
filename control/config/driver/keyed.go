package driver

import "reflect"

// Key is a key of the configuration, as a source sees it that sets keys one by one.
type Key struct {
	// Path of the key: the keys of the structs around it, and its own.
	Path []string
	// Type of its value.
	Type reflect.Type
}

// Keyed is a Source whose names depend on the keys of the configuration: the environment, flags. It reads them one by one, and each
// is a [Document] of its own.
type Keyed interface {
	Source
	// Bind returns the source for a configuration with these keys; those of a struct come before the keys in it. It is called once,
	// before anything is read. It returns an error if two keys cannot be distinguished, and Load returns that error.
	Bind(keys []Key) (Source, error)
}

// Suggester is a Source that may hold names which are not the configuration's, such as the environment. A key that the configuration
// does not have is a warning there, not an error.
type Suggester interface {
	Source
	// Suggest returns the name that an unknown one was probably meant to be, or nothing.
	Suggest(name string) string
}

// Fixed is a Source of what the process was given at start-up. Run does not follow it, and Options.LastGood does not keep it. If
// Reload finds one of its documents invalid, the others take effect nevertheless.
type Fixed interface {
	Source
	// Fixed does nothing: having it is what counts.
	Fixed()
}

// Text is a value in a [Document.Tree] of a source that knows only texts. It may stand for a number, a boolean, a list or a map as
// well: the type of the key decides. A list is written with commas or as JSON. A map or a struct is written as a JSON object, which is
// merged with what other sources have. A plain string in a Tree is a string and nothing else.
type Text string
