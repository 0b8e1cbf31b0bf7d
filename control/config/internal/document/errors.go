package document

import "github.com/go-os/go-os/internal/fault"

// The errors that only a document can have. Package config exports them.
var (
	// ErrSyntax: a document is not of its format.
	ErrSyntax = fault.New("syntax", "syntax")
	// ErrUnknownKey: a document has a key that the type does not have.
	ErrUnknownKey = fault.New("unknown_key", "unknown key")
)
