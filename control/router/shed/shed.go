// Package shed keeps a server useful under overload: it refuses what the server cannot serve in time, the least important first.
//
//	shedder, err := shed.New(&shed.Options{Name: "api"})
//	…
//	admission, ok := shedder.Admit(ctx, shed.Normal)
//	if !ok {
//		return errOverloaded // in HTTP 503, with Retry-After
//	}
//	defer admission.Done(shed.Success)
//
// The middlewares oshttp and osgrpc take a Shedder and do this for every request.
//
// # The limit
//
// A Shedder limits the requests in flight. It finds the limit by itself, from the latency and the throughput of the server. Requests that
// wait inside the server for a lock, a connection or a processor raise the latency and not the throughput. The limit is about twice the
// number of requests at which the throughput stops rising. The latency under overload is therefore about twice what it is without.
//
// A latency that rises for another reason, such as a slow dependency, does not lower the limit for long: the Shedder lowers it for a moment,
// sees that the latency stays, and learns the new latency.
//
// Below the limit nothing is refused. While the latency is good, the limit stays at least twice as high as the requests in flight.
//
// # Priorities
//
// While requests are refused, the throughput is given to the priorities from the top: Critical, High, Normal, Low, Sheddable. A priority
// that fits is admitted whole. More important requests also have more room than the limit, up to a fifth, and less important ones less.
//
// # Telemetry
//
// Scope github.com/go-os/go-os/control/router/shed. All metrics have goos.shed.name, the name of the Shedder:
//
//   - goos.shed.limit: the limit of requests in flight
//   - goos.shed.in_flight: requests in flight
//   - goos.shed.rejections: refused requests by goos.shed.priority, and by goos.shed.observed: true if they were admitted after all
//
// Events, with goos.shed.name, goos.shed.limit and goos.shed.in_flight:
//
//   - goos.shed.began (warning): the first request is refused
//   - goos.shed.ended: none has been refused for five seconds; with goos.shed.duration, in seconds, and goos.shed.refused, their number
package shed

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/fault"
	"github.com/go-os/go-os/telemetry"
)

// Defaults of Options.
const (
	DefaultName         = "server"
	DefaultMinLimit     = 4
	DefaultMaxLimit     = 10_000
	DefaultInitialLimit = 100
)

// Options configure a Shedder.
type Options struct {
	// Name tells the Shedders of a process apart in telemetry. Default: server.
	Name string
	// MinLimit is the lowest limit. A higher one avoids refusals when the limit is estimated too low. Default: 4.
	MinLimit int
	// MaxLimit is the highest limit. Default: 10,000.
	MaxLimit int
	// InitialLimit is the limit until the server has been measured. Default: 100, within MinLimit and MaxLimit.
	InitialLimit int
	// Observe admits every request, and only reports what would be refused. The limit is then an estimate: probes would show nothing.
	Observe bool
	// Telemetry receives metrics and events. A no-op provider turns its signal off.
	Telemetry telemetry.Providers
}

func (o *Options) withDefaults() (Options, error) {
	all := defaults.Copy(o)
	if all.Name == "" {
		all.Name = DefaultName
	}
	if err := defaults.Fill("shed.Options.MinLimit", &all.MinLimit, DefaultMinLimit); err != nil {
		return all, err
	}
	if err := defaults.Fill("shed.Options.MaxLimit", &all.MaxLimit, max(DefaultMaxLimit, all.MinLimit)); err != nil {
		return all, err
	}
	if all.MaxLimit < all.MinLimit {
		return all, invalid("shed.Options.MaxLimit is %d, less than MinLimit, %d: give at least MinLimit", all.MaxLimit, all.MinLimit)
	}
	standard := min(max(DefaultInitialLimit, all.MinLimit), all.MaxLimit)
	if err := defaults.Fill("shed.Options.InitialLimit", &all.InitialLimit, standard); err != nil {
		return all, err
	}
	if all.InitialLimit < all.MinLimit || all.InitialLimit > all.MaxLimit {
		return all, invalid("shed.Options.InitialLimit is %d: give a value from MinLimit, %d, to MaxLimit, %d", all.InitialLimit, all.MinLimit, all.MaxLimit)
	}
	return all, nil
}

func invalid(format string, args ...any) error {
	return fault.Classify(fault.Invalid, fmt.Errorf(format, args...))
}

// Shedder admits requests. It is safe for concurrent use.
type Shedder struct {
	options Options
	start   time.Time
	obs     *observer

	inFlight atomic.Int64
	limit    atomic.Int64 // that of adaptive, rounded up
	shares   shares
	refused  [levels]atomic.Int64 // since New
	spell    spell
	window   window

	mu       sync.Mutex // guards adaptive; held for an update only
	adaptive limit
	latency  float64 // of the last window, in seconds
}

// New returns a Shedder, or ErrInvalid. Close it when its server has stopped.
func New(o *Options) (*Shedder, error) {
	all, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Shedder{options: all, start: time.Now(), adaptive: limit{
		min: float64(all.MinLimit), max: float64(all.MaxLimit), value: float64(all.InitialLimit), observe: all.Observe,
		tolerance: maxTolerance, verified: -verifyEvery, full: -verifyEvery,
	}}
	s.limit.Store(int64(all.InitialLimit))
	s.shares.reset()
	s.obs = observe(s)
	return s, nil
}

// Close ends the metrics of the Shedder. It still admits requests.
func (s *Shedder) Close() error {
	s.obs.close()
	return nil
}

// Admit reports whether a request may be served. If so, Admission.Done must follow. Admit does not wait and does not allocate.
func (s *Shedder) Admit(ctx context.Context, p Priority) (Admission, bool) {
	if p >= Exempt {
		return Admission{}, true
	}
	level := p.level()
	inFlight, ok := s.acquire(level)
	s.window.arrive(level, inFlight, !ok)
	now := s.now()
	if !ok {
		s.refuse(ctx, now, level)
		if !s.options.Observe {
			return Admission{}, false
		}
		inFlight = s.inFlight.Add(1)
	}
	return Admission{shedder: s, start: now, inFlight: inFlight}, true
}

// acquire takes a place, and returns how many are then taken. A refused request holds nothing, not even for a moment.
func (s *Shedder) acquire(level int) (taken int64, ok bool) {
	room := s.room(level)
	for {
		taken = s.inFlight.Load()
		if taken >= room {
			return taken, false
		}
		if taken >= s.limit.Load()*3/4 && !s.shares.admit(level, rand.Uint32()) {
			return taken, false
		}
		if s.inFlight.CompareAndSwap(taken, taken+1) {
			return taken + 1, true
		}
	}
}

// room returns how many requests may be in flight for one of this level to be admitted: the limit for Normal, and a tenth, at least one
// place, more or less for each level above or below. It is at least 1.
func (s *Shedder) room(level int) int64 {
	limit := s.limit.Load()
	step := max(limit/10, 1)
	return max(limit+step*int64(level-Normal.level()), 1)
}

func (s *Shedder) refuse(ctx context.Context, now time.Duration, level int) {
	s.refused[level].Add(1)
	s.obs.reject(ctx, level)
	if s.spell.refuse(now) {
		s.obs.begin(ctx, s)
	}
	if s.window.age(now) > stale {
		s.restart(now)
	}
}

// stale is the age at which a window that is not full says nothing about now.
const stale = 5 * time.Second

// restart begins a new window, and gives up a probe: the load went away while it waited for samples. A window of long requests is not stale.
func (s *Shedder) restart(now time.Duration) {
	if !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	if s.window.age(now).Seconds() < 10*s.latency {
		return
	}
	s.window.take(now)
	s.adaptive.abandon()
	s.limit.Store(int64(math.Ceil(s.adaptive.value)))
}

// done gives a place back.
func (s *Shedder) done(a *Admission, o Outcome) {
	s.inFlight.Add(-1)
	s.window.finished.Add(1)
	now := s.now()
	if o != Ignored && s.window.sample(now, a, o == Dropped) {
		s.update(now)
	}
	if refused, lasted, over := s.spell.end(now); over {
		s.obs.end(s, refused, lasted)
	}
}

// update adapts the limit to a window. One request does it; the others go on.
func (s *Shedder) update(now time.Duration) {
	if !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	t := s.window.take(now)
	if t.latency == 0 { // another request has just taken the window
		return
	}
	probed := s.adaptive.probing
	if s.adaptive.update(now, t.sample) {
		s.window.since.Store(int64(now))
	}
	s.latency = t.latency
	s.limit.Store(int64(math.Ceil(s.adaptive.value)))
	switch {
	case !t.contended:
		s.shares.reset()
	case !probed:
		s.shares.divide(t.finished, t.offered)
	}
}

func (s *Shedder) now() time.Duration { return time.Since(s.start) }

// RetryAfter returns when the caller of a refused request may try again: one to three seconds, at random, so that callers do not return all at
// once.
func (s *Shedder) RetryAfter() time.Duration {
	return time.Second + rand.N(2*time.Second)
}

// Status is the state of a Shedder.
type Status struct {
	Name     string
	Limit    int
	InFlight int
	Shedding bool             // requests were refused within the last five seconds
	Latency  time.Duration    // of the last window; 0 is unknown
	Base     time.Duration    // the latency without queueing; 0 is unknown
	Refused  map[string]int64 // by priority, since New; with Options.Observe, those that would have been
}

// Status returns the state.
func (s *Shedder) Status() Status {
	st := Status{
		Name:     s.options.Name,
		Limit:    int(s.limit.Load()),
		InFlight: int(s.inFlight.Load()),
		Shedding: s.spell.lasts(s.now()),
		Refused:  make(map[string]int64, levels),
	}
	for level := range levels {
		st.Refused[names[level]] = s.refused[level].Load()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Latency = time.Duration(s.latency * float64(time.Second))
	st.Base = time.Duration(s.adaptive.base * float64(time.Second))
	return st
}
