package exporters

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/go-os/go-os/internal/editdistance"
)

// environ reads the environment by the rules of the specification. An empty variable is unset; an invalid one causes a warning and
// counts as unset.
type environ struct {
	vars     map[string]string
	warnings []warning
}

// warning is a problem of the configuration to report. The name is a variable or a file.
type warning struct{ name, text string }

func newEnviron(pairs []string) *environ {
	if pairs == nil {
		pairs = os.Environ()
	}
	e := &environ{vars: make(map[string]string)}
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		if value = strings.TrimSpace(value); value != "" && strings.HasPrefix(name, "OTEL_") {
			e.vars[name] = value
		}
	}
	return e
}

func (e *environ) warn(name, format string, args ...any) {
	e.warnings = append(e.warnings, warning{name, fmt.Sprintf(format, args...)})
}

// first returns the first of the names that is set, and its value.
func (e *environ) first(names ...string) (name, value string) {
	for _, name := range names {
		if value := e.vars[name]; value != "" {
			return name, value
		}
	}
	return "", ""
}

func (e *environ) set(names ...string) bool {
	name, _ := e.first(names...)
	return name != ""
}

// understood returns the value of the first variable that parse accepts, or def. Each rejected variable before it causes a warning,
// with the problem that parse returned and the value used instead. shown is def in words.
func understood[T any](e *environ, def T, shown string, parse func(string) (v T, problem string), names ...string) T {
	used := def
	var bad []warning
	for _, name := range names {
		value := e.vars[name]
		if value == "" {
			continue
		}
		v, problem := parse(value)
		if problem == "" {
			used, shown = v, name
			break
		}
		bad = append(bad, warning{name, problem})
	}
	for _, w := range bad {
		e.warn(w.name, "%s; %s is used", w.text, shown)
	}
	return used
}

// boolean parses a boolean. "true", in any case, is true; "false" or unset is false.
func (e *environ) boolean(names ...string) bool {
	return understood(e, false, "false", func(value string) (bool, string) {
		switch strings.ToLower(value) {
		case "true":
			return true, ""
		case "false":
			return false, ""
		}
		return false, fmt.Sprintf("%q is neither true nor false", value)
	}, names...)
}

// number parses an integer of at least least.
func (e *environ) number(def, least int, names ...string) int {
	return understood(e, def, strconv.Itoa(def), func(value string) (int, string) {
		n, err := strconv.Atoi(value)
		switch {
		case err != nil:
			return 0, fmt.Sprintf("%q is not a whole number", value)
		case n < least:
			return 0, fmt.Sprintf("%d is less than %d", n, least)
		}
		return n, ""
	}, names...)
}

// millis parses a duration in milliseconds, the specification's unit for all durations, of at least least.
func (e *environ) millis(least int64, def time.Duration, names ...string) time.Duration {
	return understood(e, def, strconv.FormatInt(def.Milliseconds(), 10), func(value string) (time.Duration, string) {
		n, err := strconv.ParseInt(value, 10, 64)
		switch {
		case err != nil:
			return 0, fmt.Sprintf("%q is not a whole number of milliseconds", value)
		case n < least:
			return 0, fmt.Sprintf("%d is less than %d milliseconds", n, least)
		case n > math.MaxInt64/int64(time.Millisecond):
			return 0, fmt.Sprintf("%d is more milliseconds than there are", n)
		}
		return time.Duration(n) * time.Millisecond, ""
	}, names...)
}

// timeout parses a duration. Zero means no timeout.
func (e *environ) timeout(def time.Duration, names ...string) time.Duration {
	return e.millis(0, def, names...)
}

// oneOf parses one of the accepted words, in lower case.
func (e *environ) oneOf(def string, accepted []string, names ...string) string {
	return understood(e, def, cmp.Or(def, "the default"), func(value string) (string, string) {
		word := strings.ToLower(value)
		if slices.Contains(accepted, word) {
			return word, ""
		}
		return "", fmt.Sprintf("%q is none of %s%s", value, strings.Join(accepted, ", "), didYouMean(word, accepted))
	}, names...)
}

// list parses a comma-separated list of accepted words. Unknown words cause a warning and are left out.
func (e *environ) list(accepted []string, name string) (words []string, set bool) {
	value := e.vars[name]
	if value == "" {
		return nil, false
	}
	for word := range strings.SplitSeq(value, ",") {
		word = strings.ToLower(strings.TrimSpace(word))
		switch {
		case word == "" || slices.Contains(words, word):
		case slices.Contains(accepted, word):
			words = append(words, word)
		default:
			e.warn(name, "%q is none of %s%s; it is left out", word, strings.Join(accepted, ", "), didYouMean(word, accepted))
		}
	}
	if slices.Contains(words, "none") {
		if len(words) > 1 {
			e.warn(name, "none stands beside others; none is used")
		}
		return nil, true
	}
	return words, len(words) > 0
}

// pair is an entry of a list key=value,key=value; at is its position, from 1.
type pair struct {
	at         int
	key, value string
	err        error // contains no part of the entry, which may be secret
}

var errPair = errors.New("is not key=value with percent-encoding")

// pairs parses key=value,key=value. Keys and values are percent-encoded as in the W3C baggage header.
func pairs(list string) (all []pair) {
	at := 0
	for entry := range strings.SplitSeq(list, ",") {
		at++
		if strings.TrimSpace(entry) == "" {
			continue
		}
		p := pair{at: at}
		left, right, ok := strings.Cut(entry, "=")
		var badKey, badValue error
		p.key, badKey = url.PathUnescape(strings.TrimSpace(left))
		p.value, badValue = url.PathUnescape(strings.TrimSpace(right))
		if !ok || p.key == "" || badKey != nil || badValue != nil {
			p = pair{at: at, err: errPair}
		}
		all = append(all, p)
	}
	return all
}

// resource parses attributes. One bad entry discards them all, as the specification requires.
func (e *environ) resource(name string) (attrs []attribute.KeyValue) {
	for _, p := range pairs(e.vars[name]) {
		if p.err != nil {
			e.warn(name, "entry %d %v; all of it is left out", p.at, p.err)
			return nil
		}
		attrs = append(attrs, attribute.String(p.key, p.value))
	}
	return attrs
}

// headers parses the headers of OTLP requests. A bad entry is reported by its position and left out, since the others may suffice.
func (e *environ) headers(protocol string, names ...string) map[string]string {
	name, value := e.first(names...)
	if name == "" {
		return nil
	}
	headers := make(map[string]string)
	for _, p := range pairs(value) {
		err := p.err
		if err == nil {
			err = checkHeader(protocol, p.key, p.value)
		}
		if err != nil {
			e.warn(name, "entry %d %v; it is left out", p.at, err)
			continue
		}
		headers[p.key] = p.value
	}
	return headers
}

// ratio parses a number between 0 and 1.
func (e *environ) ratio(def float64, name string) float64 {
	value := e.vars[name]
	if value == "" {
		return def
	}
	r, err := strconv.ParseFloat(value, 64)
	if err != nil || math.IsNaN(r) || r < 0 || r > 1 {
		e.warn(name, "%q is not a number between 0 and 1; %v is used", value, def)
		return def
	}
	return r
}

// didYouMean suggests the nearest word, if it is near enough to be a typo.
func didYouMean(word string, words []string) string {
	best, least := "", 1+len(word)/4
	for _, w := range words {
		if d := editdistance.Distance(word, w); d <= least && d > 0 {
			best, least = w, d-1
		}
	}
	if best == "" {
		return ""
	}
	return " (did you mean " + best + "?)"
}
