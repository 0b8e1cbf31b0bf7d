// Package serverload measures how busy a server is, so that clients can avoid it: the requests in flight, and the latency that one more
// request can expect.
//
//	load := serverload.New()
//	request := load.Begin()
//	defer request.End()     // or Leave, for one whose duration says nothing, such as a stream
//	report := load.Report() // for a header or a probe
//
// The signals are those of Prequal (Wydrowski et al., "Load is not what you should balance", NSDI 2024, section 4.2). The latency is the
// median of recent requests that began with about as many others in flight as there are now. It therefore rises with the load at once,
// before any slow request has ended.
package serverload

import (
	"math"
	"math/bits"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// Window is how long a sample counts as recent, since the newest one. If a server is idle for longer, its estimate halves with each
	// further Window. Otherwise a server that was slow once would never get a request that shows its recovery.
	Window = 10 * time.Second
	// samplesPerLevel is how many samples a level keeps.
	samplesPerLevel = 16
	// enough is how many samples of the nearest levels make a median.
	enough = 5
	// exactLevels is how many numbers in flight have a level of their own. Beyond, an octave has perOctave levels.
	exactLevels = 16
	perOctave   = 4
	levels      = exactLevels + 12*perOctave // up to 65,535 in flight; the last level has all beyond
	// tickShift makes ticks of 2^24 ns, about 17 ms. 32 bits of them last two years; after that, a sample of that age counts as recent.
	tickShift = 24
)

// Load measures one server. It is safe for concurrent use. A nil Load measures nothing.
type Load struct {
	start time.Time

	inFlight atomic.Int64
	newest   atomic.Uint32 // tick of the newest sample
	levels   [levels]level
}

// level keeps the last samples of requests that began with about the same number of others in flight.
type level struct {
	next    atomic.Uint32
	samples [samplesPerLevel]atomic.Uint64 // ticks, then microseconds, of 32 bits each; zero if there is none
}

// New returns the Load of an idle server.
func New() *Load { return &Load{start: time.Now()} }

// Request is a request in flight. Call End or Leave once; before Leave, Sample may be called once. The zero value belongs to no Load.
type Request struct {
	load  *Load
	began time.Duration
	level int
}

// Begin counts a request that has arrived.
func (l *Load) Begin() Request {
	if l == nil {
		return Request{}
	}
	return Request{load: l, began: time.Since(l.start), level: levelOf(l.inFlight.Add(1) - 1)}
}

// End ends the request. Its duration is a sample of the latency.
func (r Request) End() {
	r.Sample()
	r.Leave()
}

// Sample takes the time until now as a sample of the latency. The request stays in flight, such as one whose answer has begun.
func (r Request) Sample() {
	if r.load != nil {
		now := time.Since(r.load.start)
		r.load.record(r.level, now, now-r.began)
	}
}

// Leave ends the request. If its duration is no sample, because it was refused, abandoned or upgraded, this is the only call.
func (r Request) Leave() {
	if r.load != nil {
		r.load.inFlight.Add(-1)
	}
}

// record keeps a sample. Two concurrent ones may take the same slot after a full round, in which case one is lost.
func (l *Load) record(at int, now, took time.Duration) {
	tick := tickOf(now)
	micros := min(max(uint64(took/time.Microsecond), 1), math.MaxUint32)
	to := &l.levels[at]
	to.samples[(to.next.Add(1)-1)%samplesPerLevel].Store(uint64(tick)<<32 | micros)
	if l.newest.Load() != tick { // at most one write a tick to the shared cache line
		l.newest.Store(tick)
	}
}

// InFlight returns the number of requests in flight.
func (l *Load) InFlight() int {
	if l == nil {
		return 0
	}
	return int(max(l.inFlight.Load(), 0))
}

// Report returns the present load.
func (l *Load) Report() Report { return l.ReportBeside(0) }

// ReportBeside returns the present load without some of the requests in flight, such as the one whose answer carries the report.
func (l *Load) ReportBeside(requests int) Report {
	if l == nil {
		return Report{}
	}
	inFlight := max(l.inFlight.Load()-int64(requests), 0)
	return Report{InFlight: int(inFlight), Latency: l.estimate(levelOf(inFlight), time.Since(l.start))}
}

// estimate returns the median of the recent samples at a level, or of the nearest ones that have enough. It is zero if there is none.
func (l *Load) estimate(at int, now time.Duration) time.Duration {
	newest := l.newest.Load()
	var space [3 * samplesPerLevel]uint32
	found := l.levels[at].recent(space[:0], newest)
	for away := 1; len(found) < enough && away < levels; away++ {
		if below := at - away; below >= 0 {
			found = l.levels[below].recent(found, newest)
		}
		if above := at + away; above < levels {
			found = l.levels[above].recent(found, newest)
		}
	}
	if len(found) == 0 {
		return 0
	}
	slices.Sort(found)
	median := time.Duration(found[len(found)/2]) * time.Microsecond
	return median >> min(ticksSince(newest, tickOf(now))/windowTicks, 62)
}

// recent appends the samples, in microseconds, that are at most a Window older than the newest.
func (v *level) recent(to []uint32, newest uint32) []uint32 {
	if v.next.Load() == 0 {
		return to
	}
	for i := range v.samples {
		sample := v.samples[i].Load()
		if sample != 0 && ticksSince(uint32(sample>>32), newest) <= windowTicks {
			to = append(to, uint32(sample))
		}
	}
	return to
}

const windowTicks = uint32(Window >> tickShift)

func tickOf(now time.Duration) uint32 { return uint32(now >> tickShift) }

// ticksSince returns the ticks from one to the other, or zero if the first is later: concurrent requests may end out of order.
func ticksSince(from, to uint32) uint32 { return uint32(max(int32(to-from), 0)) }

// levelOf returns the level of a number of requests in flight.
func levelOf(inFlight int64) int {
	n := uint64(max(inFlight, 0))
	if n < exactLevels {
		return int(n)
	}
	octave := bits.Len64(n) - bits.Len64(exactLevels)
	within := n >> (octave + bits.Len64(exactLevels) - 1 - 2) & (perOctave - 1)
	return min(exactLevels+octave*perOctave+int(within), levels-1)
}
