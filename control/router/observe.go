package router

import (
	"context"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router/internal/balance"
	"github.com/go-os/go-os/control/router/internal/breaker"
	"github.com/go-os/go-os/control/router/internal/health"
	"github.com/go-os/go-os/internal/delivery"
	"github.com/go-os/go-os/internal/instrument"
	"github.com/go-os/go-os/internal/sanitize"
	"github.com/go-os/go-os/telemetry"
)

// scope is the name of the instrumentation scope.
const scope = "github.com/go-os/go-os/control/router"

const (
	serviceAttr  = attribute.Key("goos.router.service")
	protocolAttr = attribute.Key("goos.router.protocol")
	instanceAttr = attribute.Key("goos.router.instance")
	reasonAttr   = attribute.Key("goos.router.reason")
	outcomeAttr  = attribute.Key("goos.router.outcome")
	resultAttr   = attribute.Key("goos.router.result")
	stateAttr    = attribute.Key("goos.router.state")
	untilAttr    = attribute.Key("goos.router.ejection.duration")
	enforcedAttr = attribute.Key("goos.router.enforced")
)

// The reasons of rejections.
const (
	reasonOpen = iota
	reasonThrottled
	reasonRate
	reasonKeyRate
	reasonConcurrent
	reasonEndpoints
	reasons
)

var reasonNames = [reasons]string{"breaker_open", "throttled", "rate", "key_rate", "concurrent", "endpoints_full"}

// The results of probes.
const (
	probeAnswered = iota
	probeFailed
	probeRefused
	probeResults
)

var probeNames = [probeResults]string{"answered", "failed", "refused"}

// pickReasons is how many reasons of picks there are.
const pickReasons = int(balance.Only) + 1

// counts are the totals of a service.
type counts struct {
	rejections                [reasons]atomic.Int64
	probes                    [probeResults]atomic.Int64
	retriesSent, retriesShort atomic.Int64 // sent, and not sent for want of budget
	hedgesWon, hedgesLost     atomic.Int64
	fallbacks                 atomic.Int64
	gone                      endpointTotals  // of endpoints that are forgotten
	ejections                 [2]atomic.Int64 // carried out, and not
}

// endpointCounts are the totals of an endpoint. Requests to different endpoints do not contend for them.
type endpointCounts struct {
	picks    [pickReasons]atomic.Int64
	outcomes [len(kinds)]atomic.Int64
}

// endpointTotals are sums of endpointCounts.
type endpointTotals struct {
	picks    [pickReasons]int64
	outcomes [len(kinds)]int64
}

func (t *endpointTotals) add(c *endpointCounts) {
	for n := range c.picks {
		t.picks[n] += c.picks[n].Load()
	}
	for n := range c.outcomes {
		t.outcomes[n] += c.outcomes[n].Load()
	}
}

// reject counts a rejection, and returns its error.
func (s *Service) reject(reason int, err error) error {
	s.counts.rejections[reason].Add(1)
	return err
}

func (s *Service) refusedRetry() { s.counts.retriesShort.Add(1) }
func (s *Service) retried()      { s.counts.retriesSent.Add(1) }
func (s *Service) fellBack()     { s.counts.fallbacks.Add(1) }

// hedged counts a hedge.
func (s *Service) hedged(won bool) {
	if won {
		s.counts.hedgesWon.Add(1)
	} else {
		s.counts.hedgesLost.Add(1)
	}
}

// observer is how a Router observes itself.
type observer struct {
	ejected, returned, breaker, panicBegan, panicEnded, policy *instrument.Event

	events *delivery.Worker[func()]
	stop   func()
}

// maxEvents is how many events wait while the handlers of the program are slow. Further ones are dropped.
const maxEvents = 1000

func (r *Router) observe(p telemetry.Providers) {
	s := instrument.New(instrument.Config{Name: scope}, p)
	r.obs = observer{
		ejected:    s.Event("goos.router.endpoint.ejected", log.SeverityWarn, "endpoint is ejected: it gets no requests for a while"),
		returned:   s.Event("goos.router.endpoint.returned", log.SeverityInfo, "endpoint gets requests again after an ejection"),
		breaker:    s.Event("goos.router.breaker.changed", log.SeverityWarn, "circuit breaker changed its state"),
		panicBegan: s.Event("goos.router.panic.began", log.SeverityWarn, "too few healthy endpoints: requests go to the ejected ones, too"),
		panicEnded: s.Event("goos.router.panic.ended", log.SeverityInfo, "enough healthy endpoints again"),
		policy:     s.Event("goos.router.policy.applied", log.SeverityInfo, "policy of a service changed"),
		events: delivery.NewWorker(delivery.NewLedger(&delivery.LedgerOptions{Subject: "events of the router"}), func(emit func()) error {
			emit()
			return nil
		}, delivery.Limits{Items: maxEvents}),
	}
	r.obs.stop = r.observeMetrics(s.Meter())
}

// emit emits an event in another goroutine: handlers of the program run in it, and a request must not wait for them.
func (s *Service) emit(event *instrument.Event, attrs ...attribute.KeyValue) {
	attrs = append(attrs, s.about...)
	s.router.obs.events.Push(func() { event.Emit(context.Background(), attrs...) }, 1)
}

func (e *Endpoint) attr() attribute.KeyValue {
	return instanceAttr.String(sanitize.Text(e.key.id, maxName))
}

// healthChanged takes a change of the monitor.
func (s *Service) healthChanged(c health.Change) {
	s.dirty.Store(true)
	id := instanceAttr.String(sanitize.Text(c.Target.Key().ID, maxName))
	switch {
	case c.Ended:
		s.emit(s.router.obs.returned, id, reasonAttr.String(c.Reason))
	case c.Unenforced != "":
		s.counts.ejections[1].Add(1)
		s.emit(s.router.obs.ejected, id, reasonAttr.String(c.Reason), enforcedAttr.Bool(false))
	default:
		s.counts.ejections[0].Add(1)
		left := (c.Until - s.router.now()).Seconds()
		s.emit(s.router.obs.ejected, id, reasonAttr.String(c.Reason), enforcedAttr.Bool(true), untilAttr.Float64(left))
	}
}

// breakerChanged takes a transition of the service's breaker.
func (s *Service) breakerChanged(_, to breaker.State, reason string) {
	s.emit(s.router.obs.breaker, stateAttr.String(to.String()), reasonAttr.String(reason))
}

// breakerChanged takes a transition of the endpoint's breaker. An open one ejects the endpoint.
func (e *Endpoint) breakerChanged(_, to breaker.State, reason string) {
	e.service.emit(e.service.router.obs.breaker, e.attr(), stateAttr.String(to.String()), reasonAttr.String(reason))
	b := e.breaker.Load()
	if to != breaker.Open || b == nil {
		return
	}
	now := e.service.router.now()
	if e.service.monitor.Eject(now, e.target, "breaker_open", now+b.Counts(now).Remaining) {
		e.service.dirty.Store(true)
	}
}

// compared reports what a new table changes. s.mu is held.
func (s *Service) compared(t *table) {
	if panicking := t.all.table.Panic; panicking != s.panicking {
		s.panicking = panicking
		if panicking {
			s.emit(s.router.obs.panicBegan)
		} else {
			s.emit(s.router.obs.panicEnded)
		}
	}
}

// instruments are the observable ones.
type instruments struct {
	picks, attempts, rejections, probes, retries, hedges, fallbacks, ejections metric.Int64ObservableCounter
	endpoints                                                                  metric.Int64ObservableUpDownCounter
	panicking, spilled, breaker                                                metric.Float64ObservableGauge
}

// observeMetrics reports the state of the services at each collection.
func (r *Router) observeMetrics(m instrument.Meter) (stop func()) {
	i := instruments{
		picks:      m.ObservableCounter("goos.router.picks", "{pick}", "Endpoints that were picked, by reason."),
		attempts:   m.ObservableCounter("goos.router.attempts", "{attempt}", "Attempts that ended, by outcome."),
		rejections: m.ObservableCounter("goos.router.rejections", "{request}", "Requests that the client rejected, by reason."),
		probes:     m.ObservableCounter("goos.router.probes", "{probe}", "Probes for the load of endpoints, by result."),
		retries:    m.ObservableCounter("goos.router.retries", "{retry}", "Retries, by whether the budget allowed them."),
		hedges:     m.ObservableCounter("goos.router.hedges", "{hedge}", "Second attempts beside a slow first one, by whether they won."),
		fallbacks:  m.ObservableCounter("goos.router.fallbacks", "{request}", "Requests that went to the fallback service."),
		ejections:  m.ObservableCounter("goos.router.ejections", "{ejection}", "Ejections of endpoints, by whether they were carried out."),
		endpoints:  m.ObservableUpDownCounter("goos.router.endpoints", "{endpoint}", "Endpoints, by state."),
		panicking:  m.ObservableGauge("goos.router.panic", "1", "1 while ejections are ignored, because too few endpoints are healthy."),
		spilled:    m.ObservableGauge("goos.router.zone.spill", "1", "Share of the requests that leave the zone for want of capacity."),
		breaker:    m.ObservableGauge("goos.router.breaker.state", "1", "State of the service's breaker: 0 closed, 1 half-open, 2 open."),
	}
	return m.Observe(func(_ context.Context, to metric.Observer) error {
		r.services.Range(func(_, s any) bool {
			s.(*Service).report(to, &i)
			return true
		})
		return nil
	}, i.picks, i.attempts, i.rejections, i.probes, i.retries, i.hedges, i.fallbacks, i.ejections, i.endpoints, i.panicking, i.spilled, i.breaker)
}

// report reports the totals and the state of a service.
func (s *Service) report(to metric.Observer, i *instruments) {
	by := metric.WithAttributes(s.about...)
	with := func(a attribute.KeyValue) metric.ObserveOption {
		return metric.WithAttributes(append(s.about[:len(s.about):len(s.about)], a)...)
	}
	total := s.totals()
	for n, count := range total.picks {
		if count > 0 {
			to.ObserveInt64(i.picks, count, with(reasonAttr.String(balance.Reason(n).String())))
		}
	}
	for n, count := range total.outcomes {
		if count > 0 {
			to.ObserveInt64(i.attempts, count, with(outcomeAttr.String(Kind(n).String())))
		}
	}
	c := &s.counts
	for n := range c.rejections {
		if count := c.rejections[n].Load(); count > 0 {
			to.ObserveInt64(i.rejections, count, with(reasonAttr.String(reasonNames[n])))
		}
	}
	for n := range c.probes {
		if count := c.probes[n].Load(); count > 0 {
			to.ObserveInt64(i.probes, count, with(resultAttr.String(probeNames[n])))
		}
	}
	to.ObserveInt64(i.retries, c.retriesSent.Load(), with(resultAttr.String("sent")))
	to.ObserveInt64(i.retries, c.retriesShort.Load(), with(resultAttr.String("over_budget")))
	to.ObserveInt64(i.hedges, c.hedgesWon.Load(), with(resultAttr.String("won")))
	to.ObserveInt64(i.hedges, c.hedgesLost.Load(), with(resultAttr.String("lost")))
	to.ObserveInt64(i.fallbacks, c.fallbacks.Load(), by)
	to.ObserveInt64(i.ejections, c.ejections[0].Load(), with(enforcedAttr.Bool(true)))
	to.ObserveInt64(i.ejections, c.ejections[1].Load(), with(enforcedAttr.Bool(false)))
	s.reportState(to, i, by, with)
}

// reportState reports the present state of a service.
func (s *Service) reportState(to metric.Observer, i *instruments, by metric.MeasurementOption, with func(attribute.KeyValue) metric.ObserveOption) {
	t := s.current.Load()
	if t == nil {
		return
	}
	for state, count := range t.states(s.router.now()) {
		to.ObserveInt64(i.endpoints, int64(count), with(stateAttr.String(endpointStates[state])))
	}
	to.ObserveFloat64(i.panicking, boolean(t.all.table.Panic), by)
	to.ObserveFloat64(i.spilled, t.all.table.Zoning.Spilled, by)
	if b := s.guards.breaker.Load(); b != nil {
		to.ObserveFloat64(i.breaker, breakerValues[b.State(s.router.now())], by)
	}
}

var breakerValues = map[breaker.State]float64{breaker.Closed: 0, breaker.HalfOpen: 1, breaker.Open: 2}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// The states of an endpoint.
const (
	stateAvailable = iota
	stateEjected
	stateUnhealthy
	stateRefused
	stateDraining
	states
)

var endpointStates = [states]string{"available", "ejected", "unhealthy", "refused", "draining"}

// state returns the state of an endpoint.
func (e *Endpoint) status(now time.Duration) int {
	switch i := e.Instance(); {
	case i.State == discovery.Draining:
		return stateDraining
	case e.refusing(now):
		return stateRefused
	case e.target.Ejected(now):
		return stateEjected
	case i.State != discovery.Up:
		return stateUnhealthy
	}
	return stateAvailable
}

// states counts the endpoints of a table by state.
func (t *table) states(now time.Duration) (n [states]int) {
	for _, e := range t.known {
		n[e.status(now)]++
	}
	return n
}

// totals returns the totals of all endpoints, including those that are forgotten.
func (s *Service) totals() endpointTotals {
	s.mu.Lock()
	defer s.mu.Unlock()
	total := s.counts.gone
	for _, e := range s.endpoints {
		total.add(&e.counts)
	}
	return total
}
