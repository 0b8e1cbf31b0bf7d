package config

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
)

// Snapshot is one state of a configuration. It never changes.
type Snapshot[T any] struct {
	// Value is the configuration. It must not be changed.
	Value T
	// Serial counts the snapshots of this Config, from 1.
	Serial uint64
	// Version is that of the versioned source, those of several with + between them, or empty.
	Version string
	// Fingerprint tells configurations apart: a part of the SHA-256 of everything that the sources held.
	Fingerprint string
	// Applied is when it came into force.
	Applied time.Time

	origins originTree
}

// Origins returns where each key comes from and what it overrode, in the order of their paths. Secrets are Redacted. Unknown keys are
// left out: Status has them as warnings.
func (s *Snapshot[T]) Origins() []Origin { return s.origins.list() }

// Origin returns where the value at a path comes from. It is false if no source set it.
func (s *Snapshot[T]) Origin(path string) (Origin, bool) {
	all := s.Origins()
	i := slices.IndexFunc(all, func(o Origin) bool { return o.Path == path })
	if i < 0 {
		return Origin{}, false
	}
	return all[i], true
}

// Dump writes the keys, their values and where they come from, for people. Secrets are Redacted.
func (s *Snapshot[T]) Dump(w io.Writer) error {
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, o := range s.Origins() {
		_, _ = fmt.Fprintf(tab, "%s\t%s\t%s\n", o.Path, oneLine(o.Value), o.where())
		for _, lower := range o.Overrode {
			_, _ = fmt.Fprintf(tab, "\t%s\t%s, overridden\n", oneLine(lower.Value), lower.where())
		}
	}
	return tab.Flush()
}

// where names the place.
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

// oneLine shortens a text, and shows what does not print as an escape of Go: a value must not steer the terminal.
func oneLine(s string) string {
	s = strings.NewReplacer("\r\n", "⏎", "\n", "⏎", "\t", " ").Replace(s)
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) || !utf8.ValidString(s) {
		s = strings.ReplaceAll(strconv.Quote(s), `\"`, `"`)
		s = s[1 : len(s)-1]
	}
	return shorten(s)
}

// shorten cuts a text that is too long for a line.
func shorten(s string) string {
	const longest = 80
	if runes := []rune(s); len(runes) > longest {
		return string(runes[:longest]) + "…"
	}
	return s
}

// Attributes name the configuration in telemetry, so that what changes after a change can be laid at its door:
// goos.config.fingerprint and, if there is one, goos.config.version. They suit spans, log records and, as they change seldom,
// metrics.
func (s *Snapshot[T]) Attributes() []attribute.KeyValue {
	all := []attribute.KeyValue{fingerprintKey.String(s.Fingerprint)}
	if s.Version != "" {
		all = append(all, versionKey.String(s.Version))
	}
	return all
}
