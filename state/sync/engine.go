package sync

import (
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"

	"github.com/go-os/go-os/internal/backoff"
	"github.com/go-os/go-os/internal/instrument"
	"github.com/go-os/go-os/telemetry"
)

// scope is the name of the instrumentation scope.
const scope = "github.com/go-os/go-os/state/sync"

const (
	systemAttr    = attribute.Key("goos.sync.system")
	kindAttr      = attribute.Key("goos.sync.kind")
	operationAttr = attribute.Key("goos.sync.operation")
	nameAttr      = attribute.Key("goos.sync.name")
	tokenAttr     = attribute.Key("goos.sync.fencing_token")
	endAttr       = attribute.Key("goos.sync.end")
)

// The ways in which a grant ends.
const (
	endReleased = "released"
	endExpired  = "expired"
	endRevoked  = "revoked"
	endClosed   = "closed"
)

// holdBuckets are the bounds of hold durations, in seconds: from a short write to a day of leadership.
var holdBuckets = []float64{0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 21600, 86400}

// waitBuckets are the bounds of wait durations, in seconds.
var waitBuckets = []float64{0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 600}

// kind is one of the three kinds of primitives, with its telemetry.
type kind struct {
	name                    string
	acquire, try, release   *instrument.Op
	hold                    metric.Float64Histogram
	contentions             metric.Int64Counter
	waiting, held           metric.Int64UpDownCounter
	attrs                   metric.MeasurementOption
	ends                    map[string]metric.MeasurementOption // by goos.sync.end
	eventAttrs              []attribute.KeyValue
	lost, elected, resigned *instrument.Event // the last two are nil except for an election
}

// observed is the telemetry of a session.
type observed struct {
	mutex, election, semaphore *kind
	leader                     *instrument.Op
	leaderChanged              *instrument.Event
	renewalFailed              *instrument.Event
	systemOnly                 attribute.KeyValue
}

func observe(system string, p telemetry.Providers) observed {
	waits := instrument.New(instrument.Config{
		Name:        scope,
		Duration:    "goos.sync.wait.duration",
		Description: "Duration of acquisitions, from the call to the grant or the failure.",
		Buckets:     waitBuckets,
		Attrs:       []attribute.KeyValue{systemAttr.String(system)},
		Subject:     nameAttr,
		Wrap:        wrap,
	}, p)
	others := instrument.New(instrument.Config{
		Name: scope, Attrs: []attribute.KeyValue{systemAttr.String(system)}, Subject: nameAttr, Wrap: wrap,
	}, p)
	m := newInstruments(others.Meter())
	kindOf := func(name string) *kind {
		attr := kindAttr.String(name)
		k := &kind{
			name:    name,
			acquire: waits.Op("acquire", "acquire "+name, attr, operationAttr.String("acquire")),
			try:     waits.Op("try_acquire", "try_acquire "+name, attr, operationAttr.String("try_acquire")),
			release: others.Op("release", "release "+name, attr),
			hold:    m.hold, contentions: m.contentions, waiting: m.waiting, held: m.held,
			attrs:      metric.WithAttributeSet(attribute.NewSet(systemAttr.String(system), attr)),
			ends:       map[string]metric.MeasurementOption{},
			eventAttrs: []attribute.KeyValue{systemAttr.String(system), attr},
			lost:       others.Event("goos.sync.lost", log.SeverityWarn, "lock, leadership or seat lost before its release"),
		}
		for _, end := range []string{endReleased, endExpired, endRevoked, endClosed} {
			k.ends[end] = metric.WithAttributeSet(attribute.NewSet(systemAttr.String(system), attr, endAttr.String(end)))
		}
		return k
	}
	o := observed{
		mutex: kindOf("mutex"), election: kindOf("election"), semaphore: kindOf("semaphore"),
		leader:        others.Op("leader", "leader election", kindAttr.String("election")),
		leaderChanged: others.Event("goos.sync.leader.changed", log.SeverityInfo, "another leader, or none"),
		renewalFailed: others.Event("goos.sync.renewal.failed", log.SeverityWarn, "lease renewal failed and is retried"),
		systemOnly:    systemAttr.String(system),
	}
	o.election.elected = others.Event("goos.sync.leader.elected", log.SeverityInfo, "elected leader")
	o.election.resigned = others.Event("goos.sync.leader.resigned", log.SeverityInfo, "resigned leadership")
	return o
}

// wrap adds the operation and the name to an error.
func wrap(op, name string, err error) error { return &Error{Op: op, Name: name, Err: err} }

// instruments are the metrics other than the durations of calls.
type instruments struct {
	hold          metric.Float64Histogram
	contentions   metric.Int64Counter
	waiting, held metric.Int64UpDownCounter
}

func newInstruments(m instrument.Meter) instruments {
	return instruments{
		hold:        m.Histogram("goos.sync.hold.duration", "s", "Duration of grants.", holdBuckets),
		contentions: m.Counter("goos.sync.contentions", "{acquisition}", "Acquisitions that found the seats taken and waited."),
		waiting:     m.UpDownCounter("goos.sync.waiting", "{claim}", "Claims of this process that wait for a seat."),
		held:        m.UpDownCounter("goos.sync.held", "{grant}", "Grants that this process holds."),
	}
}

// about returns the attributes of an event on a name.
func (k *kind) about(name string, token Token, more ...attribute.KeyValue) []attribute.KeyValue {
	all := append(k.eventAttrs[:len(k.eventAttrs):len(k.eventAttrs)], nameAttr.String(name))
	if token != 0 {
		all = append(all, tokenAttr.Int64(int64(token)))
	}
	return append(all, more...)
}

// wait returns the wait before a retry. The first retry has the number zero.
func (s *Session) wait(attempt int) time.Duration {
	return backoff.After(attempt, s.opts.Backoff, s.opts.MaxBackoff)
}
