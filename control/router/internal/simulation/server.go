package simulation

import (
	"container/heap"
	"slices"
	"time"
)

// A server shares its CPU among its requests. A request uses one core at most.
//
// Progress is counted in virtual time: the CPU time that each request has had since the start. All requests progress alike, so the order in
// which they finish never changes.
type server struct {
	cores   float64 // at present: the allocation, and what antagonists leave of the machine
	now     time.Duration
	virtual float64 // nanoseconds of CPU time
	jobs    jobs
	version uint64 // of the next completion

	crowded, frozen, failing bool
	signals                  signals
}

// advance brings the virtual time up to now.
func (s *server) advance(now time.Duration) {
	s.virtual += float64(now-s.now) * s.speed()
	s.now = now
}

// speed is the share of a core that each request has.
func (s *server) speed() float64 {
	if s.frozen {
		return 0
	}
	return min(1, s.cores/max(float64(len(s.jobs)), 1))
}

// completion returns when the next request finishes, if nothing changes.
func (s *server) completion() (at time.Duration, ok bool) {
	if len(s.jobs) == 0 || s.speed() == 0 {
		return 0, false
	}
	left := max(s.jobs[0].finish-s.virtual, 0) / s.speed()
	return s.now + time.Duration(left) + 1, true
}

func (s *server) start(r *request) {
	r.load = len(s.jobs)
	r.delivered = s.now
	r.finish = s.virtual + float64(r.work)
	heap.Push(&s.jobs, r)
}

func (s *server) remove(r *request) {
	if r.place >= 0 {
		heap.Remove(&s.jobs, r.place)
	}
}

// load is what a server reports: its requests in flight, and the latency that they have at the moment.
type load struct {
	inFlight int
	latency  time.Duration
	ok       bool
}

func (s *server) load() load {
	return load{inFlight: len(s.jobs), latency: s.signals.latency(len(s.jobs)), ok: !s.frozen}
}

// signals hold the latencies of the last requests by the requests in flight at their arrival. The estimate is the median of those at the
// present number in flight, or at the nearest one known, as in section 4 of the Prequal paper.
type signals struct {
	recent [64][5]time.Duration
	count  [64]int
}

func (s *signals) add(inFlight int, latency time.Duration) {
	i := min(inFlight, len(s.recent)-1)
	s.recent[i][s.count[i]%len(s.recent[i])] = latency
	s.count[i]++
}

func (s *signals) latency(inFlight int) time.Duration {
	i := min(inFlight, len(s.recent)-1)
	for distance := range len(s.recent) {
		for _, at := range [2]int{i - distance, i + distance} {
			if at >= 0 && at < len(s.recent) && s.count[at] > 0 {
				return s.median(at)
			}
		}
	}
	return 0
}

func (s *signals) median(at int) time.Duration {
	sorted := s.recent[at]
	known := sorted[:min(s.count[at], len(sorted))]
	slices.Sort(known)
	return known[len(known)/2]
}

// jobs is a heap of requests by the virtual time at which they finish.
type jobs []*request

func (j jobs) Len() int           { return len(j) }
func (j jobs) Less(a, b int) bool { return j[a].finish < j[b].finish }
func (j jobs) Swap(a, b int) {
	j[a], j[b] = j[b], j[a]
	j[a].place, j[b].place = a, b
}

// Push implements heap.Interface.
func (j *jobs) Push(x any) {
	r := x.(*request)
	r.place = len(*j)
	*j = append(*j, r)
}

// Pop implements heap.Interface.
func (j *jobs) Pop() any {
	last := len(*j) - 1
	r := (*j)[last]
	(*j)[last] = nil
	*j = (*j)[:last]
	r.place = -1
	return r
}
