package instrument_test

import (
	"context"
	"net/http"
	"slices"
	"testing"

	"go.opentelemetry.io/otel/propagation"

	"github.com/go-os/go-os/internal/instrument"
)

// late is a propagator whose fields become known later, like those of the process-wide one.
type late struct {
	fields []string
	asked  int
}

func (l *late) Inject(context.Context, propagation.TextMapCarrier) {}
func (l *late) Extract(ctx context.Context, _ propagation.TextMapCarrier) context.Context {
	return ctx
}

func (l *late) Fields() []string {
	l.asked++
	return l.fields
}

func TestFields(t *testing.T) {
	own := &late{}
	f := instrument.NewFields(own, http.CanonicalHeaderKey, "X-Deadline")
	w3c := []string{"Traceparent", "Tracestate", "Baggage", "X-Deadline"}
	if got := f.Keys(); len(got) != 0 {
		t.Errorf("keys %q before there is a propagator", got)
	}
	if got := f.Foreign(); !slices.Equal(got, w3c) {
		t.Errorf("foreign keys %q, want %q", got, w3c)
	}
	own.fields, own.asked = []string{"x-b3-traceid"}, 0
	for range 3 {
		if got := f.Keys(); !slices.Equal(got, []string{"X-B3-Traceid"}) {
			t.Errorf("keys %q", got)
		}
		if got := f.Foreign(); !slices.Equal(got, append([]string{"X-B3-Traceid"}, w3c...)) {
			t.Errorf("foreign keys %q", got)
		}
	}
	if own.asked != 1 {
		t.Errorf("the propagator was asked %d times, want once", own.asked)
	}
	if none := instrument.NewFields(nil, http.CanonicalHeaderKey); len(none.Keys()) != 0 || len(none.Foreign()) != 3 {
		t.Errorf("without a propagator the keys are %q and %q", none.Keys(), none.Foreign())
	}
}
