package kvtest

import (
	"context"
	"fmt"
	"strings"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/telemetry/telemetrytest"
)

func observed() []promise {
	return []promise{
		{Name: "telemetry/spans and durations", Check: telemetryContract},
		{Name: "telemetry/keys stay off metrics", Check: keysOffMetrics},
	}
}

// observation is one call and the telemetry that it must produce.
type observation struct {
	op, kind, key string // kind is the error.type
	do            func(ctx context.Context, s *kv.Store)
}

func observations(r *rig) []observation {
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	put := func(opts ...kv.PutOption) func(context.Context, *kv.Store) {
		return func(ctx context.Context, s *kv.Store) { _, _ = s.Put(ctx, "k", []byte("x"), opts...) }
	}
	get := func(key string) func(context.Context, *kv.Store) {
		return func(ctx context.Context, s *kv.Store) { _, _ = s.Get(ctx, key) }
	}
	all := []observation{
		{"get", "not_found", "k", get("k")},
		{"put", "", "k", put()},
		{"get", "", "k", get("k")},
		{"get", "invalid", "", get("")},
		{"get", "canceled", "k", func(_ context.Context, s *kv.Store) { _, _ = s.Get(canceled, "k") }},
		{"put", "invalid", "k", put(kv.TTL(-1))},
		{"ping", "", "", func(ctx context.Context, s *kv.Store) { _ = s.Ping(ctx) }},
		{"get_many", "", "", func(ctx context.Context, s *kv.Store) { _, _ = s.GetMany(ctx, []string{"k", "missing"}) }},
		{"put_many", "", "", func(ctx context.Context, s *kv.Store) {
			_, _ = s.PutMany(ctx, []kv.Entry{{Key: "a"}, {Key: "b"}})
		}},
	}
	list := observation{"list", "unsupported", "a", func(ctx context.Context, s *kv.Store) {
		for range s.List(ctx, "a") {
			continue
		}
	}}
	if r.caps.Has(driver.List) {
		list.kind = ""
	}
	conditional := observation{"put", "unsupported", "k", put(kv.IfAbsent())}
	update := observation{"update", "unsupported", "k", func(ctx context.Context, s *kv.Store) {
		_, _ = s.Update(ctx, "k", func(kv.Item) ([]byte, error) { return []byte("y"), nil })
	}}
	if r.caps.Has(driver.CAS) {
		conditional.kind, update.kind = "conflict", ""
	}
	all = append(all, list, conditional, update)
	if limit := r.caps.MaxKey; limit > 0 {
		long := strings.Repeat("k", limit+1)
		all = append(all, observation{"get", "too_large", long, get(long)})
	}
	return append(all,
		observation{"delete", "", "k", func(ctx context.Context, s *kv.Store) { _ = s.Delete(ctx, "k") }},
		observation{"get", "closed", "k", func(ctx context.Context, s *kv.Store) { _ = s.Close(); _, _ = s.Get(ctx, "k") }},
	)
}

func telemetryContract(r *rig) {
	want := map[string]int64{}
	for _, o := range observations(r) {
		from := len(r.Spans())
		o.do(r.context(), r.store)
		spans := r.Spans()[from:]
		if len(spans) != 1 {
			r.Errorf("%s makes %d spans, want 1", o.op, len(spans))
			continue
		}
		r.compare(spans[0], o)
		kind := ""
		if o.kind != "" {
			kind = ",error.type=" + o.kind
		}
		want[fmt.Sprintf("db.client.operation.duration s db.collection.name=suite,db.operation.name=%s,db.system.name=%s%s",
			o.op, r.caps.System, kind)]++
	}
	got := r.points()
	for point, n := range want {
		if got[point] != n {
			r.Errorf("%s counted %d calls, want %d", point, got[point], n)
		}
		delete(got, point)
	}
	if len(got) != 0 {
		r.Errorf("points beyond the contract: %v", got)
	}
}

func (r *rig) compare(span telemetrytest.Span, o observation) {
	r.Helper()
	status := codes.Unset
	if o.kind != "" {
		status = codes.Error
	}
	if span.Name != o.op+" suite" || span.Kind != trace.SpanKindClient || span.Status.Code != status {
		r.Errorf("span %q of kind %s, status %s; want %q, client, %s", span.Name, span.Kind, span.Status.Code, o.op+" suite", status)
	}
	for key, value := range map[string]string{
		"db.system.name": r.caps.System, "db.operation.name": o.op, "db.collection.name": "suite",
		"goos.kv.key": o.key, "error.type": o.kind,
	} {
		if got, _ := span.Attributes[key].(string); got != value {
			r.Errorf("span %q has %s = %q, want %q", span.Name, key, got, value)
		}
	}
	if r.caps.System == "" {
		r.Error("the driver has no System")
	}
}

func keysOffMetrics(r *rig) {
	for i := range 50 {
		r.put(fmt.Sprintf("secret/%d", i), "x")
	}
	points := r.points()
	if len(points) != 1 {
		r.Errorf("writes of 50 keys make %d series, want 1", len(points))
	}
	for point := range points {
		if strings.Contains(point, "secret") {
			r.Errorf("a key is in the metrics: %s", point)
		}
	}
}

// event fails the test unless an event with this name was emitted.
func (r *rig) event(name string) {
	r.Helper()
	if !suite.Emitted(r.Recorder, name) {
		r.Errorf("events %v, want %s among them", r.Events(), name)
	}
}

// points returns the number of calls that the duration histogram counted, by name, unit and attributes.
func (r *rig) points() map[string]int64 {
	r.Helper()
	return suite.Points(r, r.Recorder)
}
