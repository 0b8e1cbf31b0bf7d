package document

import "github.com/go-os/go-os/internal/fault"

// The errors of documents. Package config re-exports ErrSyntax and ErrUnknownKey.
var (
	// ErrSyntax: a document violates the syntax of its format.
	ErrSyntax = fault.New("syntax", "syntax")
	// ErrUnknownKey: a document has a key that the type does not have.
	ErrUnknownKey = fault.New("unknown_key", "unknown key")
)
