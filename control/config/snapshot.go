package config

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/go-os/go-os/control/config/internal/document"
	"github.com/go-os/go-os/control/config/internal/scope"
	"go.opentelemetry.io/otel/attribute"
)

// Snapshot is one state of a configuration. It never changes.
type Snapshot[T any] struct {
	// Value is the configuration. Callers must not change it.
	Value T
	// Serial is the number of the snapshot in this Config, from 1.
	Serial uint64
	// Version is the version of the versioned source, or empty. The versions of several sources are joined by +.
	Version string
	// Fingerprint identifies the configuration: a prefix of the SHA-256 of the contents of all sources.
	Fingerprint string
	// Applied is when the snapshot came into force.
	Applied time.Time

	origins document.Provenance
}

// revision is a Snapshot without its type parameter.
type revision struct {
	snapshot any    // the *Snapshot[T]
	value    any    // a pointer to its Value
	seal     func() // copies the fields below to the snapshot

	serial               uint64
	version, fingerprint string
	applied              time.Time
	origins              document.Provenance
}

// newRevision returns an empty revision for a type.
func newRevision[T any]() *revision {
	s := &Snapshot[T]{}
	r := &revision{snapshot: s, value: &s.Value}
	r.seal = func() {
		s.Serial, s.Version, s.Fingerprint, s.Applied, s.origins = r.serial, r.version, r.fingerprint, r.applied, r.origins
	}
	return r
}

func snapshotOf[T any](r *revision) *Snapshot[T] { return r.snapshot.(*Snapshot[T]) }

func (r *revision) attributes() []attribute.KeyValue { return attributesOf(r.fingerprint, r.version) }

// Origin describes where the value of a key comes from.
type Origin struct {
	// Path of the key: "db.pool.max", "prices.lamp". A list is one value.
	Path string
	// Value as text, or Redacted.
	Value string
	// Source is the name of the source, or "default" for the tag of a field.
	Source string
	// Document is the name of the document: a file, a URL, a version.
	Document string
	// Line of the key in the document, or 0 if unknown.
	Line int
	// Overrode are the overridden settings of the key, the last one first.
	Overrode []Origin
}

// Origins returns the origin of each value and of the values that it overrode, in the order of the paths. Secrets are Redacted. It has no
// unknown keys; those are warnings of Status.
func (s *Snapshot[T]) Origins() []Origin { return originsOf(s.origins.List()) }

func originsOf(list []document.Origin) (all []Origin) {
	for _, o := range list {
		all = append(all, Origin{Path: o.Path, Value: o.Value, Source: o.Source, Document: o.Document, Line: o.Line, Overrode: originsOf(o.Overrode)})
	}
	return all
}

// Origin returns the origin of the value at a path. It returns false if no source set it.
func (s *Snapshot[T]) Origin(path string) (Origin, bool) {
	all := s.Origins()
	i := slices.IndexFunc(all, func(o Origin) bool { return o.Path == path })
	if i < 0 {
		return Origin{}, false
	}
	return all[i], true
}

// Dump writes a table of keys, values and origins for people. Secrets are Redacted.
func (s *Snapshot[T]) Dump(w io.Writer) error { return dump(w, s.Origins()) }

func dump(w io.Writer, all []Origin) error {
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, o := range all {
		_, _ = fmt.Fprintf(tab, "%s\t%s\t%s\n", o.Path, document.OneLine(o.Value), o.where())
		for _, lower := range o.Overrode {
			_, _ = fmt.Fprintf(tab, "\t%s\t%s, overridden\n", document.OneLine(lower.Value), lower.where())
		}
	}
	return tab.Flush()
}

// where returns the place: a document with a line, or a source.
func (o Origin) where() string {
	switch {
	case o.Document == "":
		return o.Source
	case o.Line > 0:
		return fmt.Sprintf("%s:%d", o.Document, o.Line)
	default:
		return o.Document
	}
}

// Attributes returns the attributes that identify the configuration in telemetry: goos.config.fingerprint and, if there is a version,
// goos.config.version. They suit spans, log records and, since they change rarely, metrics.
func (s *Snapshot[T]) Attributes() []attribute.KeyValue {
	return attributesOf(s.Fingerprint, s.Version)
}

func attributesOf(fingerprint, version string) []attribute.KeyValue {
	all := []attribute.KeyValue{fingerprintKey.String(fingerprint)}
	if version != "" {
		all = append(all, scope.VersionKey.String(version))
	}
	return all
}
