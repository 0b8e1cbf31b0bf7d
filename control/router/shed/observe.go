package shed

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"

	"github.com/go-os/go-os/internal/instrument"
)

// scope is the name of the instrumentation scope.
const scope = "github.com/go-os/go-os/control/router/shed"

const (
	nameAttr     = attribute.Key("goos.shed.name")
	priorityAttr = attribute.Key("goos.shed.priority")
	observedAttr = attribute.Key("goos.shed.observed")
	limitAttr    = attribute.Key("goos.shed.limit")
	inFlightAttr = attribute.Key("goos.shed.in_flight")
	durationAttr = attribute.Key("goos.shed.duration")
	refusedAttr  = attribute.Key("goos.shed.refused")
)

// observer is how a Shedder observes itself.
type observer struct {
	name         attribute.KeyValue
	began, ended *instrument.Event
	rejections   metric.Int64Counter
	by           [levels][]metric.AddOption // passed as they are: an argument list would be allocated
	close        func()
}

func observe(s *Shedder) *observer {
	sc := instrument.New(instrument.Config{Name: scope}, s.options.Telemetry)
	o := &observer{
		name:       nameAttr.String(s.options.Name),
		began:      sc.Event("goos.shed.began", log.SeverityWarn, "server is overloaded: requests are refused"),
		ended:      sc.Event("goos.shed.ended", log.SeverityInfo, "server is no longer overloaded"),
		rejections: sc.Meter().Counter("goos.shed.rejections", "{request}", "Refused requests, or with observed those that would have been."),
	}
	for level := range o.by {
		o.by[level] = []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(o.name,
			priorityAttr.String(names[level]), observedAttr.Bool(s.options.Observe)))}
	}
	o.close = o.observe(sc.Meter(), s)
	return o
}

// observe reports the state of the Shedder at each collection.
func (o *observer) observe(m instrument.Meter, s *Shedder) (stop func()) {
	limit := m.ObservableUpDownCounter("goos.shed.limit", "{request}", "Limit of requests in flight.")
	inFlight := m.ObservableUpDownCounter("goos.shed.in_flight", "{request}", "Requests in flight.")
	name := metric.WithAttributeSet(attribute.NewSet(o.name))
	return m.Observe(func(_ context.Context, to metric.Observer) error {
		to.ObserveInt64(limit, s.limit.Load(), name)
		to.ObserveInt64(inFlight, s.inFlight.Load(), name)
		return nil
	}, limit, inFlight)
}

func (o *observer) reject(ctx context.Context, level int) {
	o.rejections.Add(ctx, 1, o.by[level]...)
}

func (o *observer) begin(ctx context.Context, s *Shedder) {
	o.began.Emit(ctx, o.state(s)...)
}

func (o *observer) end(s *Shedder, refused int64, lasted time.Duration) {
	o.ended.Emit(context.Background(), append(o.state(s),
		refusedAttr.Int64(refused), durationAttr.Float64(lasted.Seconds()))...)
}

func (o *observer) state(s *Shedder) []attribute.KeyValue {
	return []attribute.KeyValue{o.name, limitAttr.Int64(s.limit.Load()), inFlightAttr.Int64(s.inFlight.Load())}
}
