package trace_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdklog "go.opentelemetry.io/otel/sdk/log"
)

// after advances the time of a synctest bubble, and waits for the work that is due by then.
func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant:\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// recorded is a log processor that keeps the records.
type recorded struct {
	mu      sync.Mutex
	records []sdklog.Record
}

func (*recorded) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }

func (r *recorded) OnEmit(_ context.Context, record *sdklog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, record.Clone())
	return nil
}

func (*recorded) Shutdown(context.Context) error   { return nil }
func (*recorded) ForceFlush(context.Context) error { return nil }

// lines returns the event name of each record followed by the values of these attributes.
func (r *recorded) lines(keys ...attribute.Key) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var lines []string
	for _, record := range r.records {
		line := record.EventName()
		for _, key := range keys {
			record.WalkAttributes(func(kv attribute.KeyValue) bool {
				if kv.Key == key {
					line += " " + kv.Value.String()
				}
				return true
			})
		}
		lines = append(lines, line)
	}
	return lines
}
