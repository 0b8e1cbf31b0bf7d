// Package driver has the interfaces of a configuration source. A [Source] returns documents. Optional interfaces report changes, set the
// schedule, or receive reports:
//
//	type static struct{ text []byte }
//
//	func (static) Name() string { return "static" }
//
//	func (s static) Read(context.Context) ([]driver.Document, error) {
//		return []driver.Document{{Name: "static", Format: "yaml", Data: s.text}}, nil
//	}
//
// Package config does the rest: it parses, merges and checks the documents, keeps the last good state, and emits telemetry. Package
// configtest is the contract of a source as a test.
package driver

import (
	"context"
	"time"

	"github.com/go-os/go-os/internal/fault"
)

// The errors of sources, which wrap them. Any other error counts as temporary, like ErrUnavailable.
var (
	// ErrNotFound: the document does not exist.
	ErrNotFound = fault.NotFound
	// ErrDenied: the source refuses the client, whose credentials or rights do not suffice.
	ErrDenied = fault.Denied
	// ErrUnavailable: the source did not answer.
	ErrUnavailable = fault.Unavailable
	// ErrTooLarge: a document is over its size limit.
	ErrTooLarge = fault.TooLarge
	// ErrInvalid: the document cannot be a configuration, or the source can never work as it was set up.
	ErrInvalid = fault.Invalid
)

// Document is a part of a configuration: a text or a tree.
type Document struct {
	// Name of the document in errors and origins: "shop.yaml", "prod/application/orders@17".
	Name string
	// Format of Data: "yaml", "json" or "toml".
	Format string
	// Data is the text. An empty text is not a configuration, since a file that is being written is empty for a moment.
	Data []byte
	// Tree has the values of a source without text. It is used if Data is nil. It must not change afterwards.
	Tree map[string]any
	// Version of the document, if the source has versions.
	Version string
}

// Source is a source of configuration. It must be safe for concurrent use.
type Source interface {
	// Name returns the name of the source in telemetry. It must have a low cardinality, and contain no secrets.
	Name() string
	// Read returns the current documents. Later ones override earlier ones. No documents mean a configuration without keys. Read must
	// return when ctx ends.
	Read(ctx context.Context) ([]Document, error)
}

// Watcher is a Source that reports changes. Run reads the source after each report. If a Watch would have to fetch a document to notice its
// change, implement [Poller] instead.
type Watcher interface {
	Source
	// Watch calls changed soon after each change, but not before Read returns the change. The first call reports that from now on no
	// change is missed. A call with an error reports that the source is out of reach; a call without one must follow when it is back.
	// Watch recovers from failures, and returns nil when ctx ends. An error means that it cannot continue; then Run calls Watch again
	// later.
	Watch(ctx context.Context, changed func(error)) error
}

// Poller is a Source with its own schedule, in place of Options.Recheck and Options.Backoff.
type Poller interface {
	Source
	// Next returns the wait before the next Read. failures is the number of consecutive calls of Read that have returned an error.
	Next(failures int) time.Duration
}

// Report is the outcome of the documents of a source.
type Report struct {
	// Versions of the documents that are in force, as in Document.Version.
	Versions []string
	// Rejected are the versions of the latest documents, if they were rejected.
	Rejected []string
	// Reason for the rejection, without values.
	Reason string
}

// Reporter is a Source that receives reports about its documents.
type Reporter interface {
	Source
	// Report is called when Run starts, after every change of the outcome, and every 30 seconds, so that reports may expire. It must
	// return when ctx ends. After an error Run retries it.
	Report(ctx context.Context, r Report) error
}
