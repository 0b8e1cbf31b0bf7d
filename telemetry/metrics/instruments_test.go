package metrics_test

import (
	"errors"
	"math"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/go-os/go-os/telemetry"
	"github.com/go-os/go-os/telemetry/metrics"
)

// route is a label value of a named type, as in applications.
type route string

type request struct {
	Route  route  `metric:"http.route"`
	Status int    `metric:"http.response.status_code"`
	Cached bool   `metric:"cached"`
	Error  string `metric:"error.type,omitempty"`
}

func provider() (telemetry.Providers, *sdkmetric.ManualReader) {
	reader := sdkmetric.NewManualReader()
	return telemetry.Providers{MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))}, reader
}

// only returns the only metric of a reader.
func only(t *testing.T, reader *sdkmetric.ManualReader) (metricdata.Metrics, string) {
	t.Helper()
	var got metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.ScopeMetrics) != 1 || len(got.ScopeMetrics[0].Metrics) != 1 {
		t.Fatalf("the reader has %+v, want one metric", got.ScopeMetrics)
	}
	return got.ScopeMetrics[0].Metrics[0], got.ScopeMetrics[0].Scope.Name
}

func set(kvs ...attribute.KeyValue) attribute.Set { return attribute.NewSet(kvs...) }

func TestInstruments(t *testing.T) {
	type labels = request
	ok := labels{Route: "/a", Status: 200}
	bad := labels{Route: "/a", Status: 500, Cached: true, Error: "timeout"}
	okSet := set(attribute.String("http.route", "/a"), attribute.Int("http.response.status_code", 200), attribute.Bool("cached", false))
	badSet := set(attribute.String("http.route", "/a"), attribute.Int("http.response.status_code", 500),
		attribute.Bool("cached", true), attribute.String("error.type", "timeout"))
	opts := func() *metrics.InstrumentOptions {
		return &metrics.InstrumentOptions{Unit: "{thing}", Description: "Things."}
	}
	sum := func(monotonic bool, ok, bad int64) metricdata.Sum[int64] {
		return metricdata.Sum[int64]{Temporality: metricdata.CumulativeTemporality, IsMonotonic: monotonic,
			DataPoints: []metricdata.DataPoint[int64]{{Attributes: okSet, Value: ok}, {Attributes: badSet, Value: bad}}}
	}
	for name, test := range map[string]struct {
		measure func(t *testing.T, p telemetry.Providers)
		want    metricdata.Aggregation
	}{
		"counter": {func(t *testing.T, p telemetry.Providers) {
			c, err := metrics.NewCounter[labels](scope, p, "things", opts())
			if err != nil {
				t.Fatal(err)
			}
			c.Add(t.Context(), 1, ok)
			c.Add(t.Context(), 2, bad)
			c.Add(t.Context(), 3, ok)
		}, sum(true, 4, 2)},
		"up-down counter": {func(t *testing.T, p telemetry.Providers) {
			c, err := metrics.NewUpDownCounter[labels](scope, p, "things", opts())
			if err != nil {
				t.Fatal(err)
			}
			c.Add(t.Context(), 5, ok)
			c.Add(t.Context(), 2, bad)
			c.Add(t.Context(), -2, ok)
		}, sum(false, 3, 2)},
		"gauge": {func(t *testing.T, p telemetry.Providers) {
			g, err := metrics.NewGauge[labels](scope, p, "things", opts())
			if err != nil {
				t.Fatal(err)
			}
			g.Record(t.Context(), 1.5, ok)
			g.Record(t.Context(), 2.5, bad)
			g.Record(t.Context(), 0.5, ok)
		}, metricdata.Gauge[float64]{
			DataPoints: []metricdata.DataPoint[float64]{{Attributes: okSet, Value: .5}, {Attributes: badSet, Value: 2.5}},
		}},
		"histogram": {func(t *testing.T, p telemetry.Providers) {
			o := opts()
			o.Buckets = []float64{1, 2}
			h, err := metrics.NewHistogram[labels](scope, p, "things", o)
			if err != nil {
				t.Fatal(err)
			}
			h.Record(t.Context(), .5, ok)
			h.Record(t.Context(), 1.5, ok)
			h.Record(t.Context(), 9, bad)
		}, metricdata.Histogram[float64]{
			Temporality: metricdata.CumulativeTemporality,
			DataPoints: []metricdata.HistogramDataPoint[float64]{
				{Attributes: okSet, Count: 2, Sum: 2, Bounds: []float64{1, 2}, BucketCounts: []uint64{1, 1, 0},
					Min: metricdata.NewExtrema(.5), Max: metricdata.NewExtrema(1.5)},
				{Attributes: badSet, Count: 1, Sum: 9, Bounds: []float64{1, 2}, BucketCounts: []uint64{0, 0, 1},
					Min: metricdata.NewExtrema(9.), Max: metricdata.NewExtrema(9.)},
			},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p, reader := provider()
			test.measure(t, p)
			got, name := only(t, reader)
			want := metricdata.Metrics{Name: "things", Unit: "{thing}", Description: "Things.", Data: test.want}
			metricdatatest.AssertEqual(t, want, got, metricdatatest.IgnoreTimestamp())
			if name != scope {
				t.Errorf("the scope is %q, want %q", name, scope)
			}
		})
	}
}

func TestLabelKinds(t *testing.T) {
	p, reader := provider()
	type labels struct {
		A int8   `metric:"a"`
		B uint32 `metric:"b"`
		c int64  `metric:"c"` // a label struct of one package needs no exported fields
	}
	c, err := metrics.NewCounter[labels](scope, p, "things", nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Add(t.Context(), 1, labels{-1, 1<<32 - 1, -1 << 63})
	got, _ := only(t, reader)
	want := set(attribute.Int("a", -1), attribute.Int("b", 1<<32-1), attribute.Int64("c", -1<<63))
	if attrs := got.Data.(metricdata.Sum[int64]).DataPoints[0].Attributes; !attrs.Equals(&want) {
		t.Errorf("the labels are %v, want %v", attrs.Encoded(attribute.DefaultEncoder()), want.Encoded(attribute.DefaultEncoder()))
	}
}

// A label from outside that is not UTF-8 would make a collector refuse the whole export.
func TestLabelsAreUTF8(t *testing.T) {
	p, reader := provider()
	c, err := metrics.NewCounter[request](scope, p, "things", nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Add(t.Context(), 1, request{Route: "/\xff", Error: "a\xfe\xffb"})
	got, _ := only(t, reader)
	attrs := got.Data.(metricdata.Sum[int64]).DataPoints[0].Attributes
	for key, want := range map[attribute.Key]string{"http.route": "/\uFFFD", "error.type": "a\uFFFDb"} {
		if v, _ := attrs.Value(key); v.AsString() != want {
			t.Errorf("%s = %q, want %q", key, v.AsString(), want)
		}
	}
}

// With a negative value, the SDK's own counter produces a falling series, which reads as a restart.
func TestCounterRefusesNegativeValues(t *testing.T) {
	before := otel.GetErrorHandler()
	t.Cleanup(func() { otel.SetErrorHandler(before) })
	var told []string
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { told = append(told, err.Error()) }))
	p, reader := provider()
	c, err := metrics.NewCounter[struct{}](scope, p, "things", nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Add(t.Context(), 3, struct{}{})
	c.Add(t.Context(), -1, struct{}{})
	c.Add(t.Context(), -1, struct{}{})
	c.Add(t.Context(), 0, struct{}{})
	got, _ := only(t, reader)
	if sum := got.Data.(metricdata.Sum[int64]).DataPoints[0].Value; sum != 3 {
		t.Errorf("the counter is %d, want 3", sum)
	}
	if len(told) != 1 || !strings.Contains(told[0], `counter "things": a negative value was refused`) {
		t.Errorf("the error handler was told %q, want it once", told)
	}
}

// The SDK's own bounds begin at 5, which is useless for seconds.
func TestHistogramOfSeconds(t *testing.T) {
	for unit, first := range map[string]float64{"s": 0.005, "By": 0} {
		p, reader := provider()
		h, err := metrics.NewHistogram[struct{}](scope, p, "things", &metrics.InstrumentOptions{Unit: unit})
		if err != nil {
			t.Fatal(err)
		}
		h.Record(t.Context(), 0.02, struct{}{})
		got, _ := only(t, reader)
		bounds := got.Data.(metricdata.Histogram[float64]).DataPoints[0].Bounds
		if bounds[0] != first || unit == "s" && bounds[len(bounds)-1] != 10 {
			t.Errorf("unit %q: the bounds are %v, want them to begin at %v", unit, bounds, first)
		}
	}
}

func TestNoLabels(t *testing.T) {
	p, reader := provider()
	c, err := metrics.NewCounter[struct{}](scope, p, "things", nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Add(t.Context(), 1, struct{}{})
	if got, _ := only(t, reader); got.Data.(metricdata.Sum[int64]).DataPoints[0].Attributes.Len() != 0 {
		t.Errorf("struct{} has made the labels %+v", got.Data)
	}
}

type noTag struct{ Route string }
type noKey struct {
	Route string `metric:",omitempty"`
}
type badOption struct {
	Route string `metric:"route,omitzero"`
}
type twice struct {
	A string `metric:"route"`
	B string `metric:"route"`
}
type float struct {
	Load float64 `metric:"load"`
}
type nested struct {
	Route noTag `metric:"route"`
}
type wide struct {
	ID uint64 `metric:"id"`
}

func TestLabelErrorsNameTheField(t *testing.T) {
	p, _ := provider()
	for _, test := range []struct {
		make func() error
		want string
	}{
		{try[noTag](p), `noTag.Route has no`},
		{try[noKey](p), `noKey.Route has an empty key`},
		{try[badOption](p), `badOption.Route has the option "omitzero"`},
		{try[twice](p), `twice.A and metrics_test.twice.B have the same key "route", as Prometheus shows it`},
		{try[float](p), `float.Load is a float64: use`},
		{try[nested](p), `nested.Route is a metrics_test.noTag: use`},
		{try[wide](p), `wide.ID is a uint64: use`},
		{try[string](p), `labels of type string: use a struct`},
	} {
		err := test.make()
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), `counter "things"`) {
			t.Errorf("the error is %v, want it to name the counter and to contain %s", err, test.want)
		}
	}
}

func try[L comparable](p telemetry.Providers) func() error {
	return func() error {
		_, err := metrics.NewCounter[L](scope, p, "things", nil)
		return err
	}
}

func TestInstrumentErrors(t *testing.T) {
	p, _ := provider()
	if _, err := metrics.NewCounter[request]("", p, "things", nil); err == nil || !strings.Contains(err.Error(), "scope is empty") {
		t.Errorf("an empty scope gives the error %v", err)
	}
	buckets := &metrics.InstrumentOptions{Buckets: []float64{1}}
	makers := map[string]func(name string, opts *metrics.InstrumentOptions) error{
		"counter": func(n string, o *metrics.InstrumentOptions) error {
			_, err := metrics.NewCounter[request](scope, p, n, o)
			return err
		},
		"up-down counter": func(n string, o *metrics.InstrumentOptions) error {
			_, err := metrics.NewUpDownCounter[request](scope, p, n, o)
			return err
		},
		"gauge": func(n string, o *metrics.InstrumentOptions) error {
			_, err := metrics.NewGauge[request](scope, p, n, o)
			return err
		},
		"histogram": func(n string, o *metrics.InstrumentOptions) error {
			_, err := metrics.NewHistogram[request](scope, p, n, o)
			return err
		},
	}
	for kind, make := range makers {
		if err := make("5 things", nil); err == nil || !strings.Contains(err.Error(), kind+` "5 things"`) {
			t.Errorf("a bad name gives a %s the error %v, want it to name both", kind, err)
		}
		err := make("things", buckets)
		if refused := err != nil && strings.Contains(err.Error(), "histograms only"); refused == (kind == "histogram") {
			t.Errorf("buckets give a %s the error %v", kind, err)
		}
	}
	for _, bounds := range [][]float64{{2, 1}, {1, 1}, {math.NaN()}} {
		err := makers["histogram"]("things", &metrics.InstrumentOptions{Buckets: bounds})
		if err == nil || !strings.Contains(err.Error(), "ascend") {
			t.Errorf("the buckets %v give a histogram the error %v", bounds, err)
		}
	}
}

func TestInvalidInstrumentOptions(t *testing.T) {
	for name, opts := range map[string]metrics.InstrumentOptions{
		"metrics.InstrumentOptions.MaxLabels": {MaxLabels: -1}, "bucket bounds must ascend": {Buckets: []float64{2, 1}},
	} {
		_, err := metrics.NewHistogram[request](scope, telemetry.Off(), "things", &opts)
		if !errors.Is(err, metrics.ErrInvalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, want ErrInvalid that names it", name, err)
		}
	}
	opts := &metrics.InstrumentOptions{MaxLabels: -1}
	_, counter := metrics.NewCounter[request](scope, telemetry.Off(), "things", opts)
	_, upDown := metrics.NewUpDownCounter[request](scope, telemetry.Off(), "things", opts)
	_, gauge := metrics.NewGauge[request](scope, telemetry.Off(), "things", opts)
	for kind, err := range map[string]error{"counter": counter, "up-down counter": upDown, "gauge": gauge} {
		if !errors.Is(err, metrics.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", kind, err)
		}
	}
}

// Beyond MaxLabels everything is still measured, but not cached.
func TestMaxLabels(t *testing.T) {
	p, reader := provider()
	c, err := metrics.NewCounter[request](scope, p, "things", &metrics.InstrumentOptions{MaxLabels: 2})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for status := range 10 {
			c.Add(t.Context(), 1, request{Status: status})
		}
	}
	got, _ := only(t, reader)
	points := got.Data.(metricdata.Sum[int64]).DataPoints
	if len(points) != 10 {
		t.Errorf("there are %d series, want 10", len(points))
	}
	for _, point := range points {
		if point.Value != 3 {
			t.Errorf("%v = %d, want 3", point.Attributes.ToSlice(), point.Value)
		}
	}
}

func TestCounterAllocatesNothing(t *testing.T) {
	p, _ := provider()
	c, err := metrics.NewCounter[request](scope, p, "things", nil)
	if err != nil {
		t.Fatal(err)
	}
	h, err := metrics.NewHistogram[request](scope, p, "sizes", nil)
	if err != nil {
		t.Fatal(err)
	}
	off, err := metrics.NewCounter[request](scope, telemetry.Off(), "things", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for name, call := range map[string]func(){
		"Counter.Add":          func() { c.Add(ctx, 1, request{Route: "/a", Status: 200}) },
		"Histogram.Record":     func() { h.Record(ctx, 1, request{Route: "/a", Status: 200}) },
		"Counter.Add when off": func() { off.Add(ctx, 1, request{Route: "/a", Status: 200}) },
	} {
		call()
		if allocs := testing.AllocsPerRun(200, call); allocs != 0 {
			t.Errorf("%s makes %v allocations, want none", name, allocs)
		}
	}
}

func TestCounterConcurrently(t *testing.T) {
	p, reader := provider()
	c, err := metrics.NewCounter[request](scope, p, "things", nil)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 1000 {
				c.Add(t.Context(), 1, request{Status: i % 10})
			}
		})
	}
	wg.Wait()
	got, _ := only(t, reader)
	for _, point := range got.Data.(metricdata.Sum[int64]).DataPoints {
		if point.Value != 800 {
			t.Errorf("%v = %d, want 800", point.Attributes.ToSlice(), point.Value)
		}
	}
}
