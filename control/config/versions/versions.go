// Package versions publishes configuration in a kv.Store. It keeps every published document with its author, its time and its reason. A
// document can be compared, rolled back, and rolled out to a percentage of the instances first.
//
//	layer, err := versions.New(store, "prod/application/shop", nil)
//	…
//	v, err := layer.Publish(ctx, versions.Draft{Document: text, Format: config.YAML, Author: "ada"})
//
// A service follows what is published:
//
//	cfg, err := config.Load[Shop](ctx, &config.Options{Sources: []config.Source{
//		versions.Published(store, &versions.PublishedOptions{Layers: []string{"prod/application/shop"}, Instance: "shop-1"}),
//	}})
//
// [Key] is a source for one document at a key, without versions.
//
// # Errors
//
// Every error is a *config.Error with the operation in Op, or joins several. It wraps one of the sentinels of package config,
// [ErrAborted], or the error of the context. A sentinel that several packages have is one value: kv.ErrUnavailable and
// config.ErrUnavailable are equal, so one errors.Is suffices for a store and its layers.
//
// # Telemetry
//
// The scope is github.com/go-os/go-os/control/config/versions. goos.config.name is Options.Name, on everything below.
//
// The operations are publish, get, head, history (for each page of 16 versions), diff, rollback, stage, advance, promote, abort, rollout
// and instances. Each is a span of kind internal, such as "config publish", with goos.config.version if it is about one version. It is also
// a point on goos.config.operation.duration, in seconds, with goos.config.operation and, on failure, error.type: conflict, invalid, syntax,
// unknown_key, not_found, denied, unavailable, too_large, unsupported, canceled, timeout or _OTHER. RunRollout has no span of its own; its
// steps have.
//
// Events, with goos.config.version, goos.config.author, goos.config.reason and goos.config.percent:
//
//   - goos.config.published (info): a version is in force for all
//   - goos.config.rollout.started, goos.config.rollout.advanced, goos.config.rollout.promoted (info): a step of a rollout
//   - goos.config.rollout.held (info): RunRollout must not advance yet
//   - goos.config.rollout.aborted (warning): the candidate was taken back
//
// If no OTel event logger takes an event, it is a line of Options.Telemetry.Logger.
package versions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/control/config/internal/document"
	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/telemetry"
)

// ErrAborted is the error of RunRollout if the rollout was aborted, by RunRollout itself or by a call of Abort or Rollback. The errors
// that all packages of configuration share are in package config.
var ErrAborted = errors.New("rollout aborted")

// MaxMessage is the longest message of a version, and the longest name of an author, in bytes.
const MaxMessage = 4 << 10

// Options configure New.
type Options struct {
	// Name of the layer in telemetry, as goos.config.name. Default: the layer.
	Name string
	// Schema is the JSON Schema of documents, of version 2020-12 unless it names another. Publish rejects documents that violate it.
	// Default: none.
	Schema []byte
	// Check checks a document before it is published, after the schema. The function [Check] returns one for a type. Default: none.
	Check func(name, format string, data []byte) error
	// MaxSize is the largest document, in bytes. If the limit of the engine is lower, it applies instead. Default: config.DefaultMaxSize.
	MaxSize int64
	// Telemetry receives spans, metrics, events and log lines. Default: the process-wide providers and the default logger.
	Telemetry telemetry.Providers
}

// Layer has the published documents of one layer of a store. A version never changes: a rollback publishes an old document again. If two
// callers publish at the same time, one gets config.ErrConflict. A Layer is safe for concurrent use.
type Layer struct {
	layer       string
	opts        Options
	schema      *documentSchema
	log         *versionLog
	instruments instruments
}

// New returns a layer of a store. The store must have the ability kv.CAS. It should have kv.Durable, since an engine that loses items loses
// versions. New does no I/O. It returns ErrInvalid if the store is nil, the layer is empty, the schema is not a JSON Schema, or MaxSize is
// negative. It returns errors.ErrUnsupported if the store lacks kv.CAS.
func New(store *kv.Store, layer string, opts *Options) (*Layer, error) {
	if store == nil {
		return nil, &config.Error{Err: errNoStore("New")}
	}
	if layer == "" {
		return nil, &config.Error{Err: fmt.Errorf("%w: the layer is empty: give it a name, such as prod/application/orders", config.ErrInvalid)}
	}
	if err := store.Require(kv.CAS); err != nil {
		return nil, &config.Error{Source: layer, Err: err}
	}
	v := &Layer{layer: layer, log: &versionLog{store: store.Namespace(layer)}}
	var err error
	if v.opts, err = opts.withDefaults(layer); err != nil {
		return nil, &config.Error{Source: layer, Err: err}
	}
	if v.schema, err = newDocumentSchema(v.opts.Schema); err != nil {
		return nil, &config.Error{Source: layer, Err: err}
	}
	v.instruments = newInstruments(v.opts)
	return v, nil
}

// withDefaults returns the options with defaults in place of zeros, or ErrInvalid if one of them is negative.
func (o *Options) withDefaults(layer string) (Options, error) {
	out := defaults.Copy(o)
	out.Name = cmp.Or(out.Name, layer)
	err := defaults.Fill("versions.Options.MaxSize", &out.MaxSize, config.DefaultMaxSize)
	return out, err
}

// Draft is a document to publish.
type Draft struct {
	// Name of the document in errors, such as its file name. Default: "draft." and the format.
	Name string
	// Document is the text. Required.
	Document string
	// Format of Document: "yaml", "json" or "toml". Required.
	Format string
	// Author names the publisher, in at most MaxMessage bytes. Required.
	Author string
	// Message is the reason, in at most MaxMessage bytes. Default: none.
	Message string
	// Parent is the version that the draft is based on. If another version is in force, Publish returns ErrConflict. First stands for no
	// version; other negative numbers are ErrInvalid. Default: the version in force at the call.
	Parent int
}

// First is the Parent of a Draft that must be the first version.
const First = -1

// Publish checks a document and puts it into force for all instances. It returns ErrInvalid, ErrSyntax or ErrTooLarge if the document is
// rejected. It returns ErrConflict if another publication came first, or during a rollout. After ErrUnavailable the document may have been
// published.
func (v *Layer) Publish(ctx context.Context, d Draft) (out Version, err error) {
	err = v.do(ctx, "publish", 0, func(ctx context.Context) error { return v.publish(ctx, d, &out, nil) })
	return out, err
}

// Stage checks a document and starts a rollout: a percentage of the instances, above 0 and below 100, takes the document as the candidate.
// It returns the errors of Publish.
//
// RunRollout skips the stages of its plan that the percentage has already passed: with DefaultStages, the first good check promotes a
// candidate that was staged at 60 %.
func (v *Layer) Stage(ctx context.Context, d Draft, percent float64) (out Version, err error) {
	err = v.do(ctx, "stage", 0, func(ctx context.Context) error {
		if !(percent > 0 && percent < 100) {
			return fmt.Errorf("%w: %v %% is not between 0 and 100: for all instances use Publish", config.ErrInvalid, percent)
		}
		return v.publish(ctx, d, &out, &percent)
	})
	return out, err
}

// publish writes the version, then moves the head. If it is interrupted in between, the version never comes into force.
func (v *Layer) publish(ctx context.Context, d Draft, out *Version, percent *float64) error {
	if err := v.check(d); err != nil {
		return err
	}
	head, at, err := v.log.head(ctx)
	if err != nil && !errors.Is(err, config.ErrNotFound) {
		return err
	}
	if head.Rollout != nil || d.Parent == First && head.Stable != 0 || d.Parent > 0 && d.Parent != head.Stable {
		return conflict(head)
	}
	next := Version{
		Number: head.Stable + 1, Parent: head.Stable, Author: d.Author, Message: d.Message, Time: time.Now().UTC(),
		Format: d.Format, Document: d.Document, SHA256: digest(d.Document),
	}
	if err := v.saveRollout(ctx, head.Ended); err != nil {
		return err
	}
	return v.release(ctx, next, out, at, percent, nil)
}

// release writes a version and moves the head to it. ended is the rollout that it ends, or nil.
func (v *Layer) release(ctx context.Context, next Version, out *Version, at kv.Version, percent *float64, ended *Rollout) error {
	next, err := v.log.add(ctx, next)
	if err != nil {
		return err
	}
	to := Head{Stable: next.Number, Ended: ended}
	event := "published"
	if percent != nil {
		event = "rollout.started"
		to = Head{Stable: next.Parent, Rollout: &Rollout{Candidate: next.Number, Percent: *percent, Steps: []Step{
			{Action: "start", Percent: *percent, Author: next.Author, Reason: next.Message, Time: next.Time},
		}}}
	}
	if err := v.log.move(ctx, to, at); err != nil {
		return err
	}
	*out = next
	v.emit(ctx, event, next.Number, to.percent(), next.Author, next.Message)
	return nil
}

// percent returns the percentage of the instances that take the newest version.
func (h Head) percent() float64 {
	if h.Rollout != nil {
		return h.Rollout.Percent
	}
	return 100
}

// check returns why a draft must not be published.
func (v *Layer) check(d Draft) error {
	switch {
	case d.Parent < First:
		return fmt.Errorf("%w: Draft.Parent is %d: give the number of a version, 0 for the current one, or First for none", config.ErrInvalid, d.Parent)
	case d.Author == "":
		return fmt.Errorf("%w: Draft.Author is missing: name the publisher", config.ErrInvalid)
	case len(d.Author) > MaxMessage || len(d.Message) > MaxMessage:
		return fmt.Errorf("%w: the author or the message is too long: the limit of each is %d bytes", config.ErrTooLarge, MaxMessage)
	case !utf8.ValidString(d.Author) || !utf8.ValidString(d.Message):
		return fmt.Errorf("%w: the author or the message is not UTF-8", config.ErrInvalid)
	case int64(len(d.Document)) > v.opts.MaxSize:
		return fmt.Errorf("%w: the document has %d bytes, and the limit is %d", config.ErrTooLarge, len(d.Document), v.opts.MaxSize)
	}
	if !document.KnownFormat(d.Format) {
		return fmt.Errorf("%w: Draft.Format: the format %q is none of yaml, json, toml", config.ErrInvalid, d.Format)
	}
	name := cmp.Or(d.Name, "draft."+d.Format)
	t, err := document.Parse(driver.Document{Name: name, Format: d.Format, Data: []byte(d.Document)})
	if err != nil {
		return err
	}
	if err := v.schema.check(&t); err != nil {
		return err
	}
	if v.opts.Check == nil {
		return nil
	}
	return v.opts.Check(name, d.Format, []byte(d.Document))
}

// Check returns a function for Options.Check that rejects documents with keys that T does not have, or with values that do not fit. It does
// not check rules of tags or call Validate, since a document may be one layer of several.
func Check[T any]() func(name, format string, data []byte) error {
	b, err := document.NewBuilder(reflect.TypeFor[T](), false)
	return func(name, format string, data []byte) error {
		if err != nil {
			return err
		}
		t, err := document.Parse(driver.Document{Name: name, Format: format, Data: data})
		if err != nil {
			return err
		}
		_, err = b.WithoutRules().Build([]document.Input{{Source: name, Trees: []document.Tree{t}}}, new(T))
		return err
	}
}

// Get returns a version. It returns ErrNotFound if it does not exist, and ErrInvalid if it is damaged.
func (v *Layer) Get(ctx context.Context, number int) (out Version, err error) {
	err = v.do(ctx, "get", number, func(ctx context.Context) (err error) {
		out, err = v.log.get(ctx, number)
		return err
	})
	return out, err
}

// Head returns the version in force and the current rollout. It returns ErrNotFound if nothing has been published yet.
func (v *Layer) Head(ctx context.Context) (h Head, err error) {
	err = v.do(ctx, "head", 0, func(ctx context.Context) (err error) {
		h, _, err = v.log.head(ctx)
		return err
	})
	return h, err
}

// History iterates over all versions, the newest first. They include candidates that were not promoted, and versions of interrupted
// publications. An error ends the iteration.
func (v *Layer) History(ctx context.Context) iter.Seq2[Version, error] {
	return func(yield func(Version, error) bool) {
		var next int // the highest number not yet read
		for first := true; first || next > 0; first = false {
			var page []Version
			err := v.do(ctx, "history", 0, func(ctx context.Context) (err error) {
				if first {
					if next, err = v.newest(ctx); err != nil {
						return err
					}
				}
				page, next, err = v.log.page(ctx, next)
				return err
			})
			for _, one := range page {
				if !yield(one, nil) {
					return
				}
			}
			if err != nil {
				yield(Version{}, err)
				return
			}
		}
	}
}

// newest returns the highest number of a version, which may be above that of the head.
func (v *Layer) newest(ctx context.Context) (int, error) {
	head, _, err := v.log.head(ctx)
	if err != nil && !errors.Is(err, config.ErrNotFound) {
		return 0, err
	}
	n := head.Stable
	if head.Rollout != nil {
		n = max(n, head.Rollout.Candidate)
	}
	for {
		switch _, err := v.log.get(ctx, n+1); {
		case errors.Is(err, config.ErrNotFound):
			return n, nil
		case err != nil && !errors.Is(err, config.ErrInvalid): // a damaged version counts, too
			return 0, err
		}
		n++
	}
}

// Rollback publishes the document of an earlier version again, for all instances, and aborts the current rollout. It returns the errors of
// Publish, and ErrNotFound if the version does not exist.
func (v *Layer) Rollback(ctx context.Context, to int, author, message string) (out Version, err error) {
	err = v.do(ctx, "rollback", to, func(ctx context.Context) error { return v.rollback(ctx, to, author, message, &out) })
	return out, err
}

func (v *Layer) rollback(ctx context.Context, to int, author, message string, out *Version) error {
	old, err := v.log.get(ctx, to)
	if err != nil {
		return err
	}
	if strings.TrimSpace(message) == "" {
		message = fmt.Sprintf("rollback to version %d", to)
	}
	if err := v.check(Draft{Document: old.Document, Format: old.Format, Author: author, Message: message}); err != nil {
		return err
	}
	head, at, err := v.log.head(ctx)
	if err != nil {
		return err
	}
	if err := v.saveRollout(ctx, head.Ended); err != nil {
		return err
	}
	var ended *Rollout
	if r := head.Rollout; r != nil {
		abort := Step{Action: "abort", Author: author, Reason: message, Time: time.Now().UTC()}
		ended = &Rollout{Candidate: r.Candidate, Steps: append(slices.Clone(r.Steps), abort)}
	}
	next := Version{
		Number: head.Stable + 1, Parent: head.Stable, Restored: to, Author: author, Message: message, Time: time.Now().UTC(),
		Format: old.Format, Document: old.Document, SHA256: old.SHA256,
	}
	return v.release(ctx, next, out, at, nil, ended)
}
