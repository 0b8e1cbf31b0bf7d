package driver

import "fmt"

// Error is an error in a configuration, with its place. A source that knows the place of a mistake returns an Error; package config adds the
// name of the source.
type Error struct {
	// Op is the operation of package versions, or empty.
	Op string
	// Source is the name of the source, or empty if no source is at fault.
	Source string
	// Document is the name of the document, or empty.
	Document string
	// Line in the document, or 0.
	Line int
	// Key is the path of the key, or empty.
	Key string
	// Err is the cause.
	Err error
}

// Error implements error: "config: shop.yaml:12: retires: unknown key: did you mean retries?".
func (e *Error) Error() string {
	text := "config: "
	if e.Op != "" {
		text += e.Op + ": "
	}
	switch {
	case e.Document != "" && e.Line > 0:
		text += fmt.Sprintf("%s:%d: ", e.Document, e.Line)
	case e.Document != "":
		text += e.Document + ": "
	case e.Source != "":
		text += e.Source + ": "
	}
	if e.Key != "" && e.Document != "$"+e.Key { // the document of an unknown variable is its key
		text += e.Key + ": "
	}
	return text + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
