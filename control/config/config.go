// Package config holds the configuration of a service: typed, merged from many sources, checked as a whole, and changed while the
// service runs.
//
//	type Shop struct {
//		Greeting string                `default:"hello"`
//		Timeout  time.Duration         `default:"2s" validate:"min=10ms,max=1m"`
//		Prices   map[string]int64      `validate:"required,dive,gt=0"`
//		APIKey   config.Secret[string] `config:"api_key"`
//	}
//
//	cfg, err := config.Load[Shop](ctx, &config.Options{Name: "shop", Sources: []config.Source{
//		config.Required(config.File("shop.yaml", nil)),
//		config.Env("SHOP_", os.Environ()),
//	}})
//	…
//	go cfg.Run(ctx)         // follows the sources
//	cfg.Get().Prices["lamp"] // whenever it is needed
//
// # Keys
//
// The key of a field is its tag `config`, or else its name in snake case: MaxConns is max_conns. Keys are case-sensitive. These tags
// change how a field is read:
//
//   - `config:"-"` leaves the field out. `config:",squash"` lifts the fields of a struct to the level of the struct itself.
//     `config:"name,secret"` hides a value that is not a [Secret].
//   - `default:"2s"` is a value, written as in the environment. It also applies to structs in lists, maps and Secrets. A default list,
//     map or struct is written as JSON. A default map is merged with the maps of the sources.
//   - `validate:"min=1"` has rules of github.com/go-playground/validator. They also apply within lists and maps, without dive.
//
// A type may have a method Validate: see [Validator]. Load returns ErrInvalid for a tag that cannot work, at every depth: an unknown option,
// a default or a rule that does not fit its field, a field that cannot be squashed. A rule on a field of type any is checked only when
// there is a value.
//
// Durations, times, URLs (url.URL), [Size], [Secret], and every encoding.TextUnmarshaler are written as text. A text type also accepts a
// number or a time, as written. Nothing is rounded, cut or guessed: a value is stored as written, or is an error. 1.5 is not an int, "80"
// in a file is not a number, 30 is not a duration, 16777217 is not a float32, and 0644 is not a number, since some parsers read it as
// octal. A float may have as many digits as its type can represent. A field of type any holds whole numbers as int64, or as uint64 if they are
// larger, and others as float64. Keys are texts as written, quoted or not.
//
// # Sources
//
// Later sources override earlier ones. The usual order is: [Defaults], [File], [URL], published documents (package
// versions, on a kv.Store), [Env], [Flags]. Maps are merged key by key, and lists are replaced. A key that disappears from a
// source no longer counts.
//
// Null removes the values of earlier sources, but not the default of the tag. Null in a list is an empty struct or list, or nil if the type
// can be nil. Otherwise it is left out of the list, with a warning.
//
// An unknown key, one that the type does not have, is an error. It names the source, the line, and the key that was probably meant.
// Options.AllowUnknown makes it a warning. Unknown variables of the environment are always warnings, since other programs use them, too.
// A top-level key of a YAML document that begins with x- and has an anchor is ignored unless the type has it: aliases refer to it, as in
// files of Docker Compose.
//
// # Guarantees
//
//   - Get is one atomic load. The value that it returns never changes, and the caller must not change it.
//   - A configuration is applied as a whole after every check has passed, or not at all. While the service runs, a bad change leaves the
//     last good configuration in force. Status reports what is wrong, where and since when, until it is repaired. A good change of one
//     source takes effect while another source is bad.
//   - Load fails if a source is invalid: broken syntax, an unknown key, a value that does not fit its type, a broken rule. The error
//     names all mistakes of all sources. A service never starts on its defaults because of a typo.
//   - Load fails if a source can never work: a malformed URL, a nil store, an empty path.
//   - Load does not fail if a source cannot be reached. The file of Options.LastGood replaces it. Without that file the source is left
//     out, unless it is [Required]. Status reports it.
//   - Values do not reach logs, spans, events or reports, except in the message of a method Validate. A returned error shows one value
//     that does not fit its type, but never a secret, the value of an unknown key, or one of a broken document.
//   - A secret is redacted everywhere: in lists and maps, behind pointers, under overridden keys. The keys of a secret map are secret,
//     too, and so is the message of a method Validate inside a Secret. [Secret] lists the printers that show it nevertheless.
//
// # Errors
//
// Every error is an [*Error], or joins several. An *Error names source, document, line and key, and wraps one of the sentinels below or
// the error of the context.
//
// # Telemetry
//
// The scope is github.com/go-os/go-os/control/config. goos.config.name is Options.Name, if set, on everything below.
//
// "config load" is the span of Load, and "config reload" the span of a Reload or, with goos.config.source, of a read by Run. "config read" is the span of
// reading one source, with goos.config.source; sources of the process itself, such as [Env], have none. The spans are of kind internal. Each
// is also a point on goos.config.operation.duration, in seconds, with goos.config.operation and, on failure, error.type: invalid, syntax,
// unknown_key, not_found, unavailable, too_large, canceled, timeout or _OTHER.
//
//   - goos.config.changes, counter, {change}: with goos.config.result, applied or rejected
//   - goos.config.problems, gauge, {problem}: 1 while a source is invalid or out of reach, with goos.config.source
//   - goos.config.info, gauge: 1 for the configuration in force, with goos.config.version and goos.config.fingerprint
//
// Events:
//
//   - goos.config.applied (info): a configuration came into force: goos.config.version, goos.config.fingerprint, goos.config.keys (those that
//     changed, at most 32)
//   - goos.config.rejected (warning): a change was rejected: goos.config.source, goos.config.key, exception.*
//   - goos.config.source.failed (warning): a source could not be read or reached: goos.config.source, exception.*
//   - goos.config.source.recovered (info): a source is valid and in reach again: goos.config.source
//   - goos.config.unknown (warning): a key was ignored: goos.config.source, goos.config.key, exception.*
//   - goos.config.callback.panicked (error): a function given to OnChange panicked: exception.*
//
// If no OTel event logger takes an event, it is a line of Options.Telemetry.Logger.
package config

import (
	"context"
	"errors"
	"time"

	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/control/config/internal/document"
	"github.com/go-os/go-os/internal/fault"
	"github.com/go-os/go-os/internal/option"
	"github.com/go-os/go-os/telemetry"
)

// The errors that callers tell apart.
var (
	// ErrInvalid: a value does not fit its type or breaks a rule, or a call makes no sense.
	ErrInvalid = driver.ErrInvalid
	// ErrSyntax: a document is not of its format.
	ErrSyntax = document.ErrSyntax
	// ErrUnknownKey: a document has a key that the type does not have.
	ErrUnknownKey = document.ErrUnknownKey
	// ErrNotFound: a file, a key, a version does not exist.
	ErrNotFound = driver.ErrNotFound
	// ErrUnavailable: a source did not answer.
	ErrUnavailable = driver.ErrUnavailable
	// ErrTooLarge: a document is over the limit.
	ErrTooLarge = driver.ErrTooLarge
	// ErrConflict: somebody else has published meanwhile. Look at what is there now, and decide again.
	ErrConflict = fault.Conflict
)

// Error says what is wrong with a configuration, and where: the operation, the source, the document, the line and the key.
type Error = driver.Error

// Source is where configuration comes from. Package driver says how to write one.
type Source = driver.Source

// The defaults of Options.
const (
	DefaultTimeout    = 10 * time.Second
	DefaultRecheck    = 5 * time.Minute
	DefaultBackoff    = 500 * time.Millisecond
	DefaultMaxBackoff = 30 * time.Second
)

// Options configure Load.
type Options struct {
	// Name of the configuration in telemetry, as goos.config.name, such as "shop". Default: none.
	Name string
	// Sources in their order: later ones override earlier ones.
	Sources []Source
	// AllowUnknown takes keys that the type does not have for warnings: they are ignored, reported by Status, and an event each.
	AllowUnknown bool
	// LastGood is a file that keeps what the sources held when they were last good. At a start it serves for those that are out of
	// reach. It holds secrets as the sources do. Only a file of this process's user with the mode 0600 is used, no larger than 64 MiB
	// and no link; another one is reported, and replaced by the next good state. Default: none.
	LastGood string
	// Timeout is how long it may take to read and parse a source, to report to it, and to read or write LastGood. A source that
	// ignores it is not waited for. Default: DefaultTimeout.
	Timeout time.Duration
	// Recheck is how often Run reads a source that has not reported a change; a tenth of it is random. A source with its own
	// schedule, such as [URL], is read by that schedule alone. Default: DefaultRecheck.
	Recheck time.Duration
	// Backoff is how long Run waits before it tries a source again that has failed; it doubles up to MaxBackoff, and half of it
	// is random. Default: DefaultBackoff.
	Backoff time.Duration
	// MaxBackoff is the longest such wait. Default: DefaultMaxBackoff.
	MaxBackoff time.Duration
	// Telemetry is where spans, metrics and events go.
	Telemetry telemetry.Providers
}

// withDefaults returns the options with defaults in place of zeros, or ErrInvalid if one of them is negative.
func (o *Options) withDefaults() (Options, error) {
	var out Options
	if o != nil {
		out = *o
	}
	err := errors.Join(
		option.Fill("Options.Timeout", &out.Timeout, DefaultTimeout),
		option.Fill("Options.Recheck", &out.Recheck, DefaultRecheck),
		option.Fill("Options.Backoff", &out.Backoff, DefaultBackoff),
		option.Fill("Options.MaxBackoff", &out.MaxBackoff, DefaultMaxBackoff),
	)
	return out, err
}

// Config is a configuration of type T that follows its sources while Run runs. It is safe for concurrent use.
type Config[T any] struct{ *core }

// Get returns the configuration in force. It must not be changed, and never changes: ask again when it is needed again.
func (c *Config[T]) Get() *T { return c.current.Load().value.(*T) }

// Snapshot returns the configuration in force and what is known about it.
func (c *Config[T]) Snapshot() *Snapshot[T] { return snapshotOf[T](c.current.Load()) }

// Reload reads all sources now, and returns what is wrong with them: nil if all of them are good and in force.
func (c *Config[T]) Reload(ctx context.Context) error { return c.reload(ctx) }

// Run follows the sources until ctx ends, and returns nil then. It reads a source when that reports a change, and every
// Options.Recheck in case it does not; it retries sources that have failed, and calls the functions given to OnChange. It returns
// ErrInvalid if it is already running.
func (c *Config[T]) Run(ctx context.Context) error { return c.run(ctx) }

// Status returns how the configuration and its sources are now.
func (c *Config[T]) Status() Status { return c.status() }

// Err returns what is wrong with the sources now, with the age of each problem, or nil. It suits a health check that is not
// critical: the last good configuration is in force.
func (c *Config[T]) Err() error { return c.err() }
