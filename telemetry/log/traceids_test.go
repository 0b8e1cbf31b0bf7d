package log_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace"

	"github.com/go-os/go-os/telemetry/log"
)

func spanContext(id byte) context.Context {
	return trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{id}, SpanID: trace.SpanID{id}, TraceFlags: trace.FlagsSampled,
	}))
}

// keeping is a handler that keeps its records, like one that writes later.
type keeping struct {
	slog.Handler
	records *[]slog.Record
}

func (k keeping) Handle(_ context.Context, r slog.Record) error {
	*k.records = append(*k.records, r)
	return nil
}

// wrapping is a program's handler around a sink of this package.
type wrapping struct{ slog.Handler }

func TestTraceIDsOnAnyHandler(t *testing.T) {
	var out bytes.Buffer
	for name, sink := range map[string]slog.Handler{
		"a handler of slog": slog.NewJSONHandler(&out, nil), "a sink of ours": log.JSON(&out, nil), "one within a handler": wrapping{log.JSON(&out, nil)},
		"a logger's handler": log.NewHandler(nil, log.JSON(&out, nil)),
	} {
		out.Reset()
		logger := slog.New(log.TraceIDs(sink)).With("a", 1).WithGroup("g")
		logger.InfoContext(spanContext(1), "m", "b", 2)
		var line struct {
			TraceID string `json:"trace_id"`
			SpanID  string `json:"span_id"`
			A       int    `json:"a"`
			G       struct{ B int }
		}
		if err := json.Unmarshal(out.Bytes(), &line); err != nil || !strings.HasPrefix(line.TraceID, "01") || !strings.HasPrefix(line.SpanID, "01") || line.A != 1 || line.G.B != 2 {
			t.Errorf("%s: %v: %s", name, err, &out)
		}
		if n := strings.Count(out.String(), "trace_id"); n != 1 {
			t.Errorf("%s: the ids are there %d times: %s", name, n, &out)
		}
	}
}

// TestTraceIDsOfKeptRecords uses a handler that reads its records after later ones were handled.
func TestTraceIDsOfKeptRecords(t *testing.T) {
	var records []slog.Record
	logger := slog.New(log.TraceIDs(keeping{slog.DiscardHandler, &records}))
	for id := range byte(3) {
		logger.InfoContext(spanContext(id+1), "m")
	}
	for i, r := range records {
		var out bytes.Buffer
		if err := slog.NewTextHandler(&out, nil).Handle(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if want := "trace_id=0" + string(rune('1'+i)); !strings.Contains(out.String(), want) {
			t.Errorf("record %d: %s, want %s", i, &out, want)
		}
	}
}
