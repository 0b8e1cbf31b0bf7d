package metrics

import (
	"errors"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
)

// maxReports bounds the number of different problems that are reported, and so the memory for them.
const maxReports = 100

// reporter reports each problem once, although it recurs with each scrape.
type reporter struct {
	handle func(error)

	mu       sync.Mutex
	reported map[string]struct{}
}

func newReporter(handle func(error)) *reporter {
	if handle == nil {
		handle = otel.Handle
	}
	return &reporter{handle: handle, reported: make(map[string]struct{})}
}

func (r *reporter) once(err error) {
	key := kind(err)
	r.mu.Lock()
	_, reported := r.reported[key]
	reported = reported || len(r.reported) >= maxReports
	if !reported {
		r.reported[key] = struct{}{}
	}
	r.mu.Unlock()
	if !reported {
		r.handle(err)
	}
}

// kind returns the constant part of a recurring problem: the first line, without the numbers. The errors of
// client_golang quote the value of the series.
func kind(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	var b strings.Builder
	for _, part := range strings.FieldsFunc(line, func(r rune) bool { return '0' <= r && r <= '9' }) {
		b.WriteString(part)
		b.WriteByte('#')
	}
	return b.String()
}

// flatten returns the errors joined in the error of a Gather.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	var several prometheus.MultiError
	if errors.As(err, &several) {
		return several
	}
	return []error{err}
}
