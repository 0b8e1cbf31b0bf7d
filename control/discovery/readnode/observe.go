package readnode

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"

	pb "github.com/go-os/go-os/control/discovery/internal/readnodev1"
	"github.com/go-os/go-os/internal/instrument"
	"github.com/go-os/go-os/telemetry"
)

const (
	systemAttr  = attribute.Key("goos.discovery.system")
	serviceAttr = attribute.Key("goos.discovery.service")
	reasonAttr  = attribute.Key("goos.discovery.readnode.reason")
	agoAttr     = attribute.Key("goos.discovery.readnode.lost.duration")
)

// Why a client gets a snapshot.
const (
	reasonNew     = "new"     // it has no records
	reasonHistory = "history" // it belongs to another node, or the node has restarted
	reasonBehind  = "behind"  // it was away, or slow, for longer than the node keeps changes
)

// observer emits the metrics and events of a Node.
type observer struct {
	system                                 attribute.KeyValue
	clients, services                      metric.Int64UpDownCounter
	snapshots, resumes, refusals           metric.Int64Counter
	framesEncoded, framesSent              metric.Int64Counter
	registryLost, registryBack             *instrument.Event
	ofSystem                               metric.MeasurementOption
	whyNew, whyHistory, whyBehind          metric.MeasurementOption
	refusedInvalid, refusedTooManyServices metric.MeasurementOption
}

func observe(system string, p telemetry.Providers) observer {
	s := instrument.New(instrument.Config{Name: "github.com/go-os/go-os/control/discovery/readnode"}, p)
	m := s.Meter()
	of := func(reason ...string) metric.MeasurementOption {
		attrs := []attribute.KeyValue{systemAttr.String(system)}
		for _, r := range reason {
			attrs = append(attrs, reasonAttr.String(r))
		}
		return metric.WithAttributeSet(attribute.NewSet(attrs...))
	}
	return observer{
		system:                 systemAttr.String(system),
		clients:                m.UpDownCounter("goos.discovery.readnode.clients", "{client}", "Clients of the read node."),
		services:               m.UpDownCounter("goos.discovery.readnode.services", "{service}", "Services that the read node follows in the registry."),
		snapshots:              m.Counter("goos.discovery.readnode.snapshots", "{snapshot}", "Snapshots that clients were sent, by the reason why changes did not suffice."),
		resumes:                m.Counter("goos.discovery.readnode.resumes", "{resume}", "Services that clients resumed where they had stopped."),
		refusals:               m.Counter("goos.discovery.readnode.refusals", "{refusal}", "Services that clients asked for and were refused."),
		framesEncoded:          m.Counter("goos.discovery.readnode.frames.encoded", "{frame}", "Changes and parts of snapshots that were encoded, each once for all clients."),
		framesSent:             m.Counter("goos.discovery.readnode.frames.sent", "{frame}", "Frames that clients were sent."),
		registryLost:           s.Event("goos.discovery.readnode.lost", log.SeverityWarn, "registry out of reach of the read node: clients keep what they have"),
		registryBack:           s.Event("goos.discovery.readnode.restored", log.SeverityInfo, "registry in reach of the read node again"),
		ofSystem:               of(),
		whyNew:                 of(reasonNew),
		whyHistory:             of(reasonHistory),
		whyBehind:              of(reasonBehind),
		refusedInvalid:         of("invalid"),
		refusedTooManyServices: of("exhausted"),
	}
}

func (o *observer) snapshot(reason string) {
	why := o.whyNew
	switch reason {
	case reasonHistory:
		why = o.whyHistory
	case reasonBehind:
		why = o.whyBehind
	}
	o.snapshots.Add(context.Background(), 1, why)
}

func (o *observer) refused(outcome pb.Outcome) {
	why := o.refusedInvalid
	if outcome == pb.Outcome_OUTCOME_EXHAUSTED {
		why = o.refusedTooManyServices
	}
	o.refusals.Add(context.Background(), 1, why)
}

func (o *observer) resumed()      { o.resumes.Add(context.Background(), 1, o.ofSystem) }
func (o *observer) encoded()      { o.framesEncoded.Add(context.Background(), 1, o.ofSystem) }
func (o *observer) sent(n int)    { o.framesSent.Add(context.Background(), int64(n), o.ofSystem) }
func (o *observer) client(n int)  { o.clients.Add(context.Background(), int64(n), o.ofSystem) }
func (o *observer) service(n int) { o.services.Add(context.Background(), int64(n), o.ofSystem) }

func (o *observer) lost(ctx context.Context, service string, err error) {
	o.registryLost.EmitError(ctx, err, o.system, serviceAttr.String(service))
}

func (o *observer) restored(ctx context.Context, service string, since time.Duration) {
	o.registryBack.Emit(ctx, o.system, serviceAttr.String(service), agoAttr.Float64(since.Seconds()))
}
