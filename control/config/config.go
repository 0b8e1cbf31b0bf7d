// Package config loads the configuration of a service from many sources into a struct, checks it as a whole, and follows changes while the
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
//	go cfg.Run(ctx)          // follows the sources
//	cfg.Get().Prices["lamp"] // the current value
//
// # Keys
//
// The key of a field is its tag `config`, or else its name in snake case: MaxConns is max_conns. Keys are case-sensitive. These tags
// change how a field is read:
//
//   - `config:"-"` excludes the field. `config:",squash"` promotes the fields of a struct to the level of the struct around it.
//     `config:"name,secret"` redacts a value that is not a [Secret].
//   - `default:"2s"` is a default value, written as in the environment. It also applies to structs in lists, maps and Secrets. A default
//     list, map or struct is written as JSON. A default map is merged with the maps of the sources.
//   - `validate:"min=1"` has rules of github.com/go-playground/validator. They also apply within lists and maps, without dive.
//
// A type may have a method Validate: see [Validator]. Load returns ErrInvalid for a tag that cannot work, at any depth: an unknown option,
// a default or a rule that does not fit its field, a field that cannot be squashed. A rule on a field of type any is checked when the field
// has a value.
//
// Durations, times, URLs (url.URL), [Size], [Secret] and every encoding.TextUnmarshaler are written as text. Such a type also accepts a
// number or a time, as written. No value is rounded, truncated or guessed: it is stored as written, or it is an error. 1.5 is not an int,
// "80" in a file is not a number, 30 is not a duration, and 16777217 is not a float32. 0644 is not a number, since some parsers read it as
// octal. A float may have as many digits as its type can represent. A field of type any holds whole numbers as int64, or as uint64 if they
// are larger, and other numbers as float64. Keys are texts as written, quoted or not.
//
// # Sources
//
// Later sources override earlier ones. The usual order is [Defaults], [File], [URL], published documents (package versions, on a
// kv.Store), [Env], [Flags]. Maps are merged key by key; lists are replaced. A key that is removed from a source loses its effect.
//
// Null removes the values of earlier sources, but not the default of the tag. Null in a list is an empty struct or list, or nil if the type
// can be nil. Otherwise it is left out of the list, with a warning.
//
// A key that the type does not have is an error, with its source, its line and the most similar key. Options.AllowUnknown makes it a
// warning. Unknown variables of the environment are always warnings, since other programs use the environment, too. A top-level key of a
// YAML document that begins with x- and has an anchor is ignored unless the type has it: it holds values for aliases, as in Docker Compose.
//
// # Guarantees
//
//   - Get is one atomic load. The value that it returns never changes, and callers must not change it.
//   - A configuration is applied as a whole after all checks, or not at all. While the service runs, a bad change leaves the last good
//     configuration in force. Status reports each problem, with its place and its age, until it is repaired. A good change of one source
//     takes effect while another source is bad.
//   - Load fails if a source is invalid: broken syntax, an unknown key, a value that does not fit its type, a broken rule. The error
//     has all mistakes of all sources. A typo never starts a service on its defaults.
//   - Load fails if a source can never work: a malformed URL, a nil store, an empty path, an unknown format, a negative option.
//   - Load does not fail if a source cannot be reached. The file of Options.LastGood stands in for it. Without that file the source is left
//     out, unless it is [Required]. Status reports it.
//   - Values do not reach logs, spans, events or reports, except in the message of a Validate method. A returned error may show a value
//     that does not fit its type, but never a secret, the value of an unknown key, or a value of a broken document.
//   - Secrets are redacted everywhere: in lists and maps, behind pointers, under overridden keys. The keys of a secret map are secret, too,
//     and so is the message of a Validate method in a Secret. [Secret] lists the printers that show it nevertheless.
//
// # Errors
//
// Every error is an [*Error], or joins several. An *Error has the source, document, line and key, and wraps one of the sentinels below or
// the error of the context. A sentinel that several packages have is one value: kv.ErrUnavailable, sync.ErrUnavailable and
// config.ErrUnavailable are equal, so one errors.Is suffices for all of them.
//
// # Telemetry
//
// The scope is github.com/go-os/go-os/control/config. goos.config.name is Options.Name, if set, on everything below.
//
// "config load" is the span of Load, and "config reload" the span of a Reload or, with goos.config.source, of a read by Run. "config read"
// is the span of reading one source, with goos.config.source; sources of the process itself, such as [Env], have none. The spans are of
// kind internal. Each is also a point on goos.config.operation.duration, in seconds, with goos.config.operation and, on failure,
// error.type: invalid, syntax, unknown_key, not_found, denied, unavailable, too_large, canceled, timeout or _OTHER.
//
//   - goos.config.changes, counter, {change}: with goos.config.result, applied or rejected
//   - goos.config.problems, gauge, {problem}: 1 while a source is invalid or out of reach, with goos.config.source
//   - goos.config.info, gauge: 1 for the configuration in force, with goos.config.version and goos.config.fingerprint
//
// Events:
//
//   - goos.config.applied (info): a configuration came into force: goos.config.version, goos.config.fingerprint, goos.config.keys (those that
//     changed, at most 32; not set if no value changed, nor by Load)
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
	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/fault"
	"github.com/go-os/go-os/telemetry"
)

// The errors of this package and of package versions.
var (
	// ErrInvalid: a value does not fit its type or breaks a rule, or an option or an argument cannot work.
	ErrInvalid = driver.ErrInvalid
	// ErrSyntax: a document violates the syntax of its format.
	ErrSyntax = document.ErrSyntax
	// ErrUnknownKey: a document has a key that the type does not have.
	ErrUnknownKey = document.ErrUnknownKey
	// ErrNotFound: a file, a key or a version does not exist.
	ErrNotFound = driver.ErrNotFound
	// ErrDenied: a source refuses the client, whose credentials or rights do not suffice. A retry fails until somebody grants them. Load
	// leaves such a source out like one that did not answer, unless it is Required.
	ErrDenied = driver.ErrDenied
	// ErrUnavailable: a source did not answer, or not in time.
	ErrUnavailable = driver.ErrUnavailable
	// ErrTooLarge: a document is over its size limit.
	ErrTooLarge = driver.ErrTooLarge
	// ErrConflict: another publication came first. Read the current state and decide again.
	ErrConflict = fault.Conflict
)

// Error is an error in a configuration, with its place: the operation, the source, the document, the line and the key.
type Error = driver.Error

// Source is a source of configuration. Package driver describes how to write one.
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
	// Sources in order of precedence: later ones override earlier ones. Default: none; the configuration has the defaults of its tags.
	Sources []Source
	// AllowUnknown makes keys that the type does not have warnings. They are ignored, reported by Status, and an event each. Default: they
	// are errors.
	AllowUnknown bool
	// LastGood is a file with the last good documents of the sources. At start-up it stands in for sources that are out of reach. It
	// contains the secrets of the sources. The file must belong to the user of this process, have the mode 0600, be at most 64 MiB large,
	// and not be a link. Any other file is reported, and replaced by the next good state. Default: none.
	LastGood string
	// Timeout limits each read of a source with its parsing, each report to a source, and each read or write of LastGood. A source that
	// exceeds it is abandoned. Default: DefaultTimeout.
	Timeout time.Duration
	// Recheck is the interval at which Run reads a source that has not reported a change; a tenth of it is random. A source with its own
	// schedule, such as [URL], is read by that schedule alone. Default: DefaultRecheck.
	Recheck time.Duration
	// Backoff is the wait of Run before the first retry of a source that has failed. It doubles up to MaxBackoff, and half of it is
	// random. Default: DefaultBackoff.
	Backoff time.Duration
	// MaxBackoff is the longest wait before a retry. Default: DefaultMaxBackoff.
	MaxBackoff time.Duration
	// Telemetry receives spans, metrics, events and log lines. Default: the process-wide providers and the default logger.
	Telemetry telemetry.Providers
}

// withDefaults returns the options with defaults in place of zeros, or ErrInvalid if one of them is negative.
func (o *Options) withDefaults() (Options, error) {
	out := defaults.Copy(o)
	err := errors.Join(
		defaults.Fill("config.Options.Timeout", &out.Timeout, DefaultTimeout),
		defaults.Fill("config.Options.Recheck", &out.Recheck, DefaultRecheck),
		defaults.Fill("config.Options.Backoff", &out.Backoff, DefaultBackoff),
		defaults.Fill("config.Options.MaxBackoff", &out.MaxBackoff, DefaultMaxBackoff),
	)
	return out, err
}

// Config is a configuration of type T. It follows its sources while Run runs. It is safe for concurrent use.
type Config[T any] struct{ *core }

// Get returns the configuration in force. The value never changes, and callers must not change it: call Get for each use.
func (c *Config[T]) Get() *T { return c.current.Load().value.(*T) }

// Snapshot returns the configuration in force with its version, its age and the origins of its values.
func (c *Config[T]) Snapshot() *Snapshot[T] { return snapshotOf[T](c.current.Load()) }

// Reload reads all sources now. It returns all their problems, or nil if all sources are good and in force.
func (c *Config[T]) Reload(ctx context.Context) error { return c.reload(ctx) }

// Run follows the sources until ctx ends; then it returns nil. It reads a source when the source reports a change, and every
// Options.Recheck in any case. It retries sources that have failed, and calls the functions given to OnChange. It returns ErrInvalid if it
// is already running.
func (c *Config[T]) Run(ctx context.Context) error { return c.run(ctx) }

// Status returns the current state of the configuration and its sources.
func (c *Config[T]) Status() Status { return c.status() }

// Err returns the current problems of the sources with their ages, or nil. It suits a health check that is not critical, since the last
// good configuration is in force.
func (c *Config[T]) Err() error { return c.err() }
