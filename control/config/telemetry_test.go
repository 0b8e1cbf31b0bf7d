package config_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/control/config/versions"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

// recorder records the telemetry that reaches the SDK.
type recorder struct {
	telemetry.Providers
	spans  *tracetest.SpanRecorder
	reader *sdkmetric.ManualReader
	mu     sync.Mutex
	events []string
}

func newRecorder() *recorder {
	w := &recorder{spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader()}
	w.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(w.spans))
	w.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(w.reader))
	w.LoggerProvider = sdklog.NewLoggerProvider(sdklog.WithProcessor(w))
	return w
}

func (w *recorder) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }
func (w *recorder) Shutdown(context.Context) error                         { return nil }
func (w *recorder) ForceFlush(context.Context) error                       { return nil }

// OnEmit formats an event on one line: its name, its severity unless Info, and its attributes in order.
func (w *recorder) OnEmit(_ context.Context, r *sdklog.Record) error {
	attrs := map[string]string{}
	for kv := range r.WalkAttributes {
		attrs[string(kv.Key)] = kv.Value.String()
	}
	line := strings.TrimPrefix(r.EventName(), "goos.config.")
	if r.Severity() != log.SeverityInfo {
		line += " " + r.Severity().String()
	}
	for _, key := range slices.Sorted(maps.Keys(attrs)) {
		if key != "goos.config.fingerprint" && key != "exception.stacktrace" && key != "exception.type" {
			line += " " + strings.TrimPrefix(key, "goos.config.") + "=" + attrs[key]
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, line)
	return nil
}

// take returns the events since the previous call.
func (w *recorder) take() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() { w.events = nil }()
	return strings.Join(w.events, "\n")
}

// points returns the values of the metrics, and the counts of histograms.
func (w *recorder) points(t testing.TB) map[string]float64 {
	var rm metricdata.ResourceMetrics
	must(t, w.reader.Collect(t.Context(), &rm))
	all := map[string]float64{}
	add := func(name string, set attribute.Set, value float64) {
		text := strings.TrimPrefix(name, "goos.config.")
		for _, kv := range set.ToSlice() {
			if kv.Key != "goos.config.fingerprint" {
				text += " " + strings.TrimPrefix(string(kv.Key), "goos.config.") + "=" + kv.Value.String()
			}
		}
		all[text] += value
	}
	for _, sm := range rm.ScopeMetrics {
		for _, m := range sm.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					add(m.Name, p.Attributes, float64(p.Value))
				}
			case metricdata.Gauge[int64]:
				for _, p := range data.DataPoints {
					add(m.Name, p.Attributes, float64(p.Value))
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					add(m.Name, p.Attributes, float64(p.Count))
				}
			}
		}
	}
	return all
}

// TestTelemetry checks all telemetry of a configuration.
func TestTelemetry(t *testing.T) {
	w := newRecorder()
	a := &live{name: "a", text: "retries: 1\ndb: {password: hunter2}\n"}
	load := func() (*config.Config[service], error) {
		return config.Load[service](t.Context(), &config.Options{Name: "orders", Sources: []config.Source{a}, AllowUnknown: true, Telemetry: w.Providers})
	}
	cfg, err := load()
	must(t, err)
	step := func(text string, err error, want string) {
		t.Helper()
		a.set(text, err)
		_ = cfg.Reload(t.Context())
		if got := w.take(); got != want {
			t.Errorf("after %q\ngot\n%s\nwant\n%s", text, got, want)
		}
	}
	if got := w.take(); got != "applied name=orders" {
		t.Errorf("loaded: %s", got)
	}
	step("retries: 2\ndb: {password: hunter3}\n", nil, "applied keys=[\"db.password\",\"retries\"] name=orders")
	step("retries: 99\ndb: {password: hunter4}\n", nil, "rejected WARN exception.message=config: a:1: retries: invalid: must be at most 10 key=retries name=orders source=a")
	step("retries: 99\n", nil, "")
	step("retries: hunter6\n", nil, "rejected WARN exception.message=config: a:1: retries: invalid: is not a whole number key=retries name=orders source=a")
	if err := cfg.Err(); !strings.Contains(err.Error(), `"hunter6" is not a whole number`) { // the caller has the value anyway
		t.Errorf("Err: %v", err)
	}
	step("", driver.ErrUnavailable, "source.failed WARN exception.message=config: a: unavailable name=orders source=a")
	step("retries: 2\ndb: {password: hunter3}\n", nil, "source.recovered name=orders source=a")
	step("retries: 2\nretires: hunter5\n", nil, "unknown WARN exception.message=config: a:2: retires: unknown key: did you mean retries? key=retires name=orders source=a\napplied keys=[\"db.password\"] name=orders")
	stop, err := cfg.OnChange("retries", func(*service, *service) { panic("bug") })
	must(t, err)
	step("retries: 3\n", nil, "applied keys=[\"retries\"] name=orders\ncallback.panicked ERROR exception.message=bug name=orders")
	stop()
	a.set("", errors.New("gone"))
	if _, err := load(); err != nil { // the defaults are valid
		t.Fatal(err)
	}
	points := w.points(t)
	for point, want := range map[string]float64{
		"changes name=orders result=applied": 5, "changes name=orders result=rejected": 2, "problems name=orders source=a": 1, "info name=orders": 2, // two were loaded
		"operation.duration name=orders operation=load": 2, "operation.duration name=orders operation=reload": 4, "operation.duration error.type=invalid name=orders operation=reload": 3,
		"operation.duration error.type=unavailable name=orders operation=reload": 1,
		"operation.duration name=orders operation=read":                          8, "operation.duration error.type=unavailable name=orders operation=read": 1,
		"operation.duration error.type=_OTHER name=orders operation=read": 1,
	} {
		if points[point] != want {
			t.Errorf("%s: %v, want %v", point, points[point], want)
		}
	}
	if t.Failed() {
		t.Logf("%v", points)
	}
	for _, s := range w.spans.Ended() {
		if !strings.HasPrefix(s.Name(), "config ") || strings.Contains(fmt.Sprint(s.Attributes(), s.Status()), "hunter") {
			t.Errorf("span %s: %v %v", s.Name(), s.Attributes(), s.Status())
		}
		if s.Name() == "config read" && !slices.Contains(s.Attributes(), attribute.String("goos.config.source", "a")) {
			t.Errorf("span %s does not name its source: %v", s.Name(), s.Attributes())
		}
	}
}

const layer = "prod/application/orders"

func newStore(t testing.TB) *kv.Store {
	t.Helper()
	store := kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()})
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func draft(text string) versions.Draft {
	return versions.Draft{Document: text, Format: config.YAML, Author: "ada", Message: "why not"}
}

// goodHealth is the health of canaries without failures.
func goodHealth(context.Context) (versions.Health, error) {
	return versions.Health{Canary: versions.Sample{Total: 1000}, Stable: versions.Sample{Total: 1000}}, nil
}

// TestTelemetryOfVersions checks all telemetry of published versions.
func TestTelemetryOfVersions(t *testing.T) {
	w := newRecorder()
	store := newStore(t)
	v, err := versions.New(store, layer, &versions.Options{Name: "orders", Telemetry: w.Providers})
	must(t, err)
	ctx := t.Context()
	publish(t, v, "retries: 1\n")
	_, err = v.Stage(ctx, draft("retries: 2\n"), 10)
	must(t, err, v.Advance(ctx, 20, "ada", "well"), v.Abort(ctx, "bob", "ill"))
	_, err = v.Stage(ctx, draft("retries: 3\n"), 10)
	must(t, err, v.Promote(ctx, "ada", "done"))
	_, err = v.Rollback(ctx, 1, "bob", "")
	must(t, err)
	_, err = v.Stage(ctx, draft("retries: 5\n"), 10)
	must(t, err, v.RunRollout(ctx, versions.Plan{Author: "guide", Stages: []versions.Stage{}, Every: time.Millisecond, Health: goodHealth}))
	want := `published author=ada name=orders percent=100 reason= version=L@1
rollout.started author=ada name=orders percent=10 reason=why not version=L@2
rollout.advanced author=ada name=orders percent=20 reason=well version=L@2
rollout.aborted WARN author=bob name=orders percent=0 reason=ill version=L@2
rollout.started author=ada name=orders percent=10 reason=why not version=L@3
rollout.promoted author=ada name=orders percent=100 reason=done version=L@3
published author=bob name=orders percent=100 reason=rollback to version 1 version=L@4
rollout.started author=ada name=orders percent=10 reason=why not version=L@5
rollout.promoted author=guide name=orders percent=100 reason=as planned version=L@5`
	if got := w.take(); got != strings.ReplaceAll(want, "L@", layer+"@") {
		t.Errorf("got\n%s", got)
	}
	_, err = v.Publish(ctx, draft("a: b: c"))
	if err == nil || w.take() != "" {
		t.Error("a rejected draft was reported as published")
	}
	_, err = v.Head(ctx)
	must(t, err, second(v.Get(ctx, 1)), second(v.Diff(ctx, 1, 2)), second(v.Rollout(ctx, 2)), second(v.Instances(ctx)))
	for _, err := range v.History(ctx) {
		must(t, err)
	}
	points := w.points(t)
	for point, n := range map[string]float64{
		"publish": 1, "stage": 3, "advance": 1, "abort": 1, "promote": 2, "rollback": 1, "head": 1, "get": 1, "diff": 1, "rollout": 1, "instances": 1, "history": 1,
	} {
		if points["operation.duration name=orders operation="+point] != n {
			t.Errorf("%s: %v", point, points)
		}
	}
	if points["operation.duration error.type=syntax name=orders operation=publish"] != 1 {
		t.Errorf("%v", points)
	}
}

// TestAttributes: the attributes have the fingerprint and the version.
func TestAttributes(t *testing.T) {
	store := newStore(t)
	v, err := versions.New(store, layer, &versions.Options{Telemetry: telemetry.Off()})
	must(t, err)
	publish(t, v, "retries: 1\n")
	source := versions.Published(store, &versions.PublishedOptions{Layers: []string{layer}})
	one, two := load(t, source), load(t, source)
	attrs := one.Snapshot().Attributes()
	if len(attrs) != 2 || attrs[0].Key != "goos.config.fingerprint" || attrs[0].Value.AsString() != two.Snapshot().Fingerprint || attrs[1].Value.AsString() != layer+"@1" {
		t.Errorf("%v", attrs)
	}
	if other := load(t, source, config.Env("X_", []string{"X_RETRIES=1"})); other.Snapshot().Fingerprint == one.Snapshot().Fingerprint {
		t.Error("two configurations have one fingerprint")
	}
}

// TestAllocGet: Get does not allocate.
func TestAllocGet(t *testing.T) {
	cfg := load(t, yaml("retries: 1\n"))
	sum := 0
	if n := testing.AllocsPerRun(1000, func() { sum += cfg.Get().Retries }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkGet measures one Get.
func BenchmarkGet(b *testing.B) {
	cfg := load(b, yaml("retries: 1\n"))
	sum := 0
	b.ReportAllocs()
	for b.Loop() {
		sum += cfg.Get().Retries
	}
	if sum == 0 {
		b.Error("nothing was read")
	}
}

// BenchmarkReload measures a Reload: read, merge, decode, check.
func BenchmarkReload(b *testing.B) {
	a := &live{name: "a", text: "retries: 1\n"}
	cfg := load(b, a)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		a.text = fmt.Sprintf("retries: %d\nprices: {lamp: {cents: 4900}, chair: {cents: 18900}}\n", i%10)
		if err := cfg.Reload(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// lines returns Providers that take no OTel events, and the lines of their Logger without timestamps.
func lines() (telemetry.Providers, *strings.Builder) {
	var out strings.Builder
	p := telemetry.Off()
	p.Logger = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "goos.config.fingerprint" || a.Key == "exception.stacktrace" || a.Key == "exception.type" {
			return slog.Attr{}
		}
		return a
	}}))
	return p, &out
}

// TestEventFallback: an event becomes a line of the Logger only if no OTel event logger takes it.
func TestEventFallback(t *testing.T) {
	follow := func(p telemetry.Providers) {
		a, b := &live{name: "a", text: "retries: 1\nretires: 2\n"}, &live{name: "b", err: driver.ErrUnavailable}
		saved := filepath.Join(t.TempDir(), "no folder", "last-good")
		cfg, err := config.Load[service](t.Context(), &config.Options{Name: "orders", Sources: []config.Source{a, b}, LastGood: saved, AllowUnknown: true, Telemetry: p})
		must(t, err)
		stop, err := cfg.OnChange("", func(*service, *service) { panic("bug") })
		must(t, err)
		for _, step := range []struct {
			text string
			err  error
		}{{"retries: 99\ndb: {password: hunter2}\n", nil}, {"retries: 2\ndb: {password: hunter2}\n", nil}, {"", driver.ErrUnavailable}} {
			a.set(step.text, step.err)
			_ = cfg.Reload(t.Context())
			stop()
		}
	}
	p, out := lines()
	follow(p)
	const want = `level=WARN msg="configuration key ignored" event=goos.config.unknown goos.config.name=orders goos.config.source=a goos.config.key=retires exception.message="config: a:2: retires: unknown key: did you mean retries?"
level=INFO msg="configuration applied" event=goos.config.applied goos.config.name=orders
level=WARN msg="configuration source left out; the service runs without it" event=goos.config.source.failed goos.config.name=orders goos.config.source=b exception.message="config: b: unavailable"
level=WARN msg="last-good file of the configuration failed" event=goos.config.source.failed goos.config.name=orders goos.config.source="last good file" exception.message="config: FILE"
level=WARN msg="configuration rejected; the last good one stays in force" event=goos.config.rejected goos.config.name=orders goos.config.source=a goos.config.key=retries exception.message="config: a:1: retries: invalid: must be at most 10"
level=INFO msg="configuration source recovered" event=goos.config.source.recovered goos.config.name=orders goos.config.source=a
level=INFO msg="configuration applied" event=goos.config.applied goos.config.name=orders goos.config.keys="[db.password retries]"
level=WARN msg="configuration source failed; what it held stays in force" event=goos.config.source.failed goos.config.name=orders goos.config.source=a exception.message="config: a: unavailable"
`
	got := regexp.MustCompile(`"config: /[^"]*"`).ReplaceAllString(out.String(), `"config: FILE"`)
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	out.Reset()
	w := newRecorder()
	w.Logger = p.Logger
	follow(w.Providers)
	if n := strings.Count(w.take(), "\n") + 1; out.Len() != 0 || n != strings.Count(want, "\n") {
		t.Errorf("with a taker: %d events, and the lines\n%s", n, out)
	}
}

// TestPanicFallback: a panic of a callback is never silent.
func TestPanicFallback(t *testing.T) {
	p, out := lines()
	a := &live{name: "a", text: "retries: 1\n"}
	cfg, err := config.Load[service](t.Context(), &config.Options{Sources: []config.Source{a}, Telemetry: p})
	must(t, err)
	_, err = cfg.OnChange("", func(*service, *service) { panic("bug") })
	must(t, err)
	a.set("retries: 2\n", nil)
	must(t, cfg.Reload(t.Context()))
	const want = `level=ERROR msg="configuration callback panicked" event=goos.config.callback.panicked exception.message=bug`
	if !strings.Contains(out.String(), want) {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

// TestRolloutFallback: the steps of a rollout become lines of the Logger if no OTel event logger takes the events.
func TestRolloutFallback(t *testing.T) {
	p, out := lines()
	v, err := versions.New(newStore(t), layer, &versions.Options{Name: "orders", Telemetry: p})
	must(t, err)
	ctx := t.Context()
	publish(t, v, "retries: 1\n")
	_, err = v.Stage(ctx, draft("retries: 2\n"), 10)
	must(t, err, v.Advance(ctx, 20, "ada", "well"), v.Abort(ctx, "bob", "ill"))
	_, err = v.Rollback(ctx, 1, "bob", "")
	must(t, err)
	const want = `level=INFO msg="configuration published" event=goos.config.published goos.config.name=orders goos.config.version=L@1 goos.config.percent=100 goos.config.author=ada goos.config.reason=""
level=INFO msg="configuration rollout started" event=goos.config.rollout.started goos.config.name=orders goos.config.version=L@2 goos.config.percent=10 goos.config.author=ada goos.config.reason="why not"
level=INFO msg="configuration rollout advanced" event=goos.config.rollout.advanced goos.config.name=orders goos.config.version=L@2 goos.config.percent=20 goos.config.author=ada goos.config.reason=well
level=WARN msg="configuration rollout aborted" event=goos.config.rollout.aborted goos.config.name=orders goos.config.version=L@2 goos.config.percent=0 goos.config.author=bob goos.config.reason=ill
level=INFO msg="configuration published" event=goos.config.published goos.config.name=orders goos.config.version=L@3 goos.config.percent=100 goos.config.author=bob goos.config.reason="rollback to version 1"
`
	if got := strings.ReplaceAll(out.String(), layer+"@", "L@"); got != want {
		t.Errorf("got\n%s", got)
	}
}
