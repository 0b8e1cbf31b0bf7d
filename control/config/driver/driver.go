// Package driver is what a source of configuration implements: something that can be read, and that may say when it has
// changed. Everything else (parsing, merging, checking, keeping the last good state, telemetry) is done by package config.
package driver

import (
	"context"
	"time"

	"github.com/go-os/go-os/internal/fault"
)

// The errors that sources tell apart, by wrapping them. Any other error is taken for ErrUnavailable's kind: it may pass.
var (
	// ErrNotFound: what should be read does not exist.
	ErrNotFound = fault.NotFound
	// ErrUnavailable: the source did not answer.
	ErrUnavailable = fault.Unavailable
	// ErrTooLarge: a document is over the limit.
	ErrTooLarge = fault.TooLarge
	// ErrInvalid: what was read cannot be a configuration, or the source was set up wrongly.
	ErrInvalid = fault.Invalid
)

// Document is a part of a configuration, as text or as a tree.
type Document struct {
	// Name says where the document is, as errors and provenance name it: "shop.yaml", "prod/application/orders@17".
	Name string
	// Format of Data: "yaml", "json" or "toml".
	Format string
	// Data is the text. An empty one is not a configuration: a file that is being written is empty for a moment.
	Data []byte
	// Tree holds the values of a source that has no text. It is used if Data is nil, and must not change afterwards.
	Tree map[string]any
	// Version of the document, if the source counts them.
	Version string
}

// Source is a place that configuration comes from. It must be safe for concurrent use.
type Source interface {
	// Name says what the source is, as it stands in telemetry: of low cardinality, and without secrets.
	Name() string
	// Read returns the documents as they are now, later ones overriding earlier ones. None is a configuration with no
	// keys. It returns when ctx ends, at the latest.
	Read(ctx context.Context) ([]Document, error)
}

// Watcher is a Source that notices changes. Each change is read once, by the Read that follows the call of changed: a Watch that
// must fetch a document to see that it has changed is better a [Poller].
type Watcher interface {
	Source
	// Watch calls changed whenever a later Read may have another outcome, soon after the fact and not before Read shows it. The
	// first call comes as soon as nothing can be missed any more. A call with an error says that the source is out of reach, and
	// that a call without one will follow when it is back. Watch comes back by itself after failures and returns nil when ctx
	// ends; an error says that it cannot go on, and will be tried again later.
	Watch(ctx context.Context, changed func(error)) error
}

// Poller is a Source that has its own schedule: Run reads it when Next says so, and neither every Options.Recheck nor with
// Options.Backoff.
type Poller interface {
	Source
	// Next returns how long to wait before the next Read. failures is how many calls of Read in a row have returned an error.
	Next(failures int) time.Duration
}

// Report is what became of a source's documents.
type Report struct {
	// Versions of the documents that are in force, as in Document.Version.
	Versions []string
	// Rejected are the versions of the newest documents, if they were refused.
	Rejected []string
	// Reason for which they were refused.
	Reason string
}

// Reporter is a Source that wants to know what became of its documents.
type Reporter interface {
	Source
	// Report is called by Run at its start, after every change of the outcome, and again every 30 seconds, so that a report may
	// expire. It returns when ctx ends, at the latest. After an error it is called again soon.
	Report(ctx context.Context, r Report) error
}
