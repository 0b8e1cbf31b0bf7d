package oshttp

import (
	"context"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/httpconv"
)

// activity counts the requests of one method and scheme that are being served. The metric is observed from it when it is
// collected: two atomic additions a request cost a tenth of two measurements. Handlers on one provider add up, as the
// observations of one attribute set do in a sum.
type activity struct {
	begun, ended atomic.Int64
	series       metric.ObserveOption
}

type activityKey struct{ method, scheme string }

// watchActivity returns a count for each pair of known methods and schemes, all of which are observed by the meter from now
// on. A pair that was never seen makes no series.
func watchActivity(meter metric.Meter) map[activityKey]*activity {
	all := make(map[activityKey]*activity)
	for _, method := range [...]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "QUERY", otherMethod} {
		for _, scheme := range [...]string{"http", "https"} {
			all[activityKey{method, scheme}] = &activity{series: metric.WithAttributeSet(attribute.NewSet(
				semconv.HTTPRequestMethodKey.String(method), semconv.URLScheme(scheme)))}
		}
	}
	i, err := httpconv.NewServerActiveRequestsObservable(meter)
	handle(err)
	_, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for _, a := range all {
			// In this order a request that passes meanwhile is counted too much rather than below zero.
			if ended, begun := a.ended.Load(), a.begun.Load(); begun > 0 {
				o.ObserveInt64(i.Inst(), begun-ended, a.series)
			}
		}
		return nil
	}, i.Inst())
	handle(err)
	return all
}
