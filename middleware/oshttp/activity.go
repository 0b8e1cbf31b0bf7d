package oshttp

import (
	"context"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/httpconv"

	"github.com/go-os/go-os/internal/bounded"
)

// activity counts the requests in flight of one method and scheme. The metric is observed from it on collection: two
// atomic additions a request cost a tenth of two measurements.
type activity struct {
	begun, ended atomic.Int64
	series       metric.ObserveOption
}

type activityKey struct{ method, scheme string }

// activities are those of one meter, for any number of handlers. A pair of method and scheme that never occurred has no
// series.
type activities struct {
	meter *serverMeter // which must live as long as the meter calls back
	known bounded.Cache[activityKey, *activity]

	mu  sync.Mutex
	all []*activity // the values of known
}

// watchActivities returns activities that the meter observes from now on. The registration is never removed: a meter has
// one.
func watchActivities(m *serverMeter) *activities {
	a, meter := &activities{meter: m}, m.meter
	i, err := httpconv.NewServerActiveRequestsObservable(meter)
	handle(err)
	_, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, one := range a.all {
			// In this order, a request that begins and ends in between makes the value too high, but never negative.
			ended, begun := one.ended.Load(), one.begun.Load()
			o.ObserveInt64(i.Inst(), begun-ended, one.series)
		}
		return nil
	}, i.Inst())
	handle(err)
	return a
}

// of returns the activity of a method, which is known or _OTHER, and a scheme.
func (a *activities) of(method, scheme string) *activity {
	return a.known.Get(activityKey{method, scheme}, a.add)
}

func (a *activities) add(k activityKey) *activity {
	one := &activity{series: metric.WithAttributeSet(attribute.NewSet(
		semconv.HTTPRequestMethodKey.String(k.method), semconv.URLScheme(k.scheme)))}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, one)
	return one
}
