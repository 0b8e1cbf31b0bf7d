package show

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// Rates reads request rates and latencies from the metrics of several pipelines. The zero value is ready to use. It is not safe for
// concurrent use.
type Rates struct {
	readers []*sdkmetric.ManualReader
}

// Reader returns a reader for the MetricReaders of a pipeline. It selects exponential histograms, regardless of the buckets that
// instruments advise, since their quantiles are accurate to a few percent at any latency.
func (r *Rates) Reader() sdkmetric.Reader {
	reader := sdkmetric.NewManualReader(sdkmetric.WithAggregationSelector(func(kind sdkmetric.InstrumentKind) sdkmetric.Aggregation {
		if kind == sdkmetric.InstrumentKindHistogram {
			return sdkmetric.AggregationBase2ExponentialHistogram{MaxSize: 160, MaxScale: 20, NoMinMax: true}
		}
		return sdkmetric.DefaultAggregationSelector(kind)
	}))
	r.readers = append(r.readers, reader)
	return reader
}

// Route has the measurements of one route of one service.
type Route struct {
	Service, Name string
	Requests      uint64
	Errors        uint64
	seconds       []bucket
}

// bucket counts calls of about the same duration, in seconds.
type bucket struct {
	seconds float64
	count   uint64
}

// Collect reads the current metrics, the latest reader first. Call it before the pipelines are shut down.
func (r *Rates) Collect(ctx context.Context) ([]*Route, error) {
	var routes []*Route
	for _, reader := range slices.Backward(r.readers) {
		var data metricdata.ResourceMetrics
		err := reader.Collect(ctx, &data)
		if errors.Is(err, sdkmetric.ErrReaderNotRegistered) {
			continue // metrics are off
		}
		if err != nil {
			return nil, err
		}
		found := routesOf(serviceOf(data.Resource), &data)
		slices.SortFunc(found, func(a, b *Route) int { return cmp.Compare(a.Name, b.Name) })
		routes = append(routes, found...)
	}
	return routes, nil
}

func routesOf(service string, data *metricdata.ResourceMetrics) []*Route {
	byName := make(map[string]*Route)
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			histogram, ok := m.Data.(metricdata.ExponentialHistogram[float64])
			if !ok {
				continue
			}
			for _, point := range histogram.DataPoints {
				name := routeName(m.Name, point.Attributes)
				if name == "" {
					continue
				}
				if byName[name] == nil {
					byName[name] = &Route{Service: service, Name: name}
				}
				byName[name].add(point)
			}
		}
	}
	routes := make([]*Route, 0, len(byName))
	for _, r := range byName {
		routes = append(routes, r)
	}
	return routes
}

// routeName returns the route of a point. It is empty for metrics that are not about served requests.
func routeName(metric string, attrs attribute.Set) string {
	get := func(key attribute.Key) string {
		v, _ := attrs.Value(key)
		return v.String()
	}
	switch metric {
	case "http.server.request.duration":
		if !attrs.HasValue("http.route") {
			return get("http.request.method")
		}
		return get("http.request.method") + " " + get("http.route")
	case "rpc.server.call.duration":
		return get("rpc.method")
	}
	return ""
}

func (r *Route) add(p metricdata.ExponentialHistogramDataPoint[float64]) {
	r.Requests += p.Count
	if p.Attributes.HasValue("error.type") {
		r.Errors += p.Count
	}
	r.seconds = append(r.seconds, bucket{0, p.ZeroCount})
	// A bucket spans base^i to base^(i+1). Its midpoint on the logarithmic scale represents it.
	base := math.Exp2(math.Exp2(-float64(p.Scale)))
	for i, count := range p.PositiveBucket.Counts {
		if count > 0 {
			exponent := float64(p.PositiveBucket.Offset) + float64(i) + 0.5
			r.seconds = append(r.seconds, bucket{math.Pow(base, exponent), count})
		}
	}
}

// Quantile returns the latency that a share q of the requests, between 0 and 1, did not exceed.
func (r *Route) Quantile(q float64) time.Duration {
	slices.SortFunc(r.seconds, func(a, b bucket) int { return cmp.Compare(a.seconds, b.seconds) })
	rank := uint64(math.Ceil(q * float64(r.Requests)))
	for _, b := range r.seconds {
		if b.count >= rank {
			return time.Duration(b.seconds * float64(time.Second))
		}
		rank -= b.count
	}
	return 0
}

// WriteRates writes the routes as a table. Rates are averages over the elapsed time.
func WriteRates(w io.Writer, routes []*Route, elapsed time.Duration) error {
	if len(routes) == 0 {
		_, err := fmt.Fprintln(w, "  no request was measured")
		return err
	}
	rows := [][]string{{"service", "route", "requests", "per second", "errors", right("p50", 8), right("p95", 8), right("p99", 8)}}
	for _, r := range routes {
		rows = append(rows, []string{
			r.Service, r.Name,
			right(fmt.Sprint(r.Requests), 8),
			right(fmt.Sprintf("%.1f", float64(r.Requests)/elapsed.Seconds()), 10),
			right(fmt.Sprint(r.Errors), 6),
			right(millis(r.Quantile(0.50)), 8), right(millis(r.Quantile(0.95)), 8), right(millis(r.Quantile(0.99)), 8),
		})
	}
	return WriteTable(w, rows)
}
