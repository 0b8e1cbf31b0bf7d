package balance

import (
	"math"
	"strconv"
	"time"
)

// An Outcome says how a request ended, as far as its endpoint is concerned.
type Outcome uint8

const (
	// Success is an answer that says nothing against the server.
	Success Outcome = iota
	// Fault is a fault of the server or of the connection to it.
	Fault
	// Overload is a request that the server turned away to protect itself.
	Overload
	// Timeout is a request without an answer in its time. The time that it has waited is a sample of latency.
	Timeout
	// Neutral is a request whose end the endpoint has no part in: the caller cancelled it, or a hedge won.
	Neutral
)

var outcomes = [...]string{"success", "fault", "overload", "timeout", "neutral"}

// String returns the name of the outcome.
func (o Outcome) String() string {
	if int(o) < len(outcomes) {
		return outcomes[o]
	}
	return "outcome " + strconv.Itoa(int(o))
}

// A Ticket is one request in flight. The zero Ticket does nothing. Copies of a Ticket are the same request.
type Ticket struct {
	endpoint *Endpoint
	slot     int32
	sequence uint32
}

// Begin counts a request in flight. The duration of a stream is no sample of latency.
func (e *Endpoint) Begin(now time.Duration, stream bool) Ticket {
	e.mu.Lock()
	e.countWaiting(now)
	slot := e.open.add(now, stream)
	sequence := e.open.slots[slot].sequence
	e.countRequest(now)
	e.publishOldest()
	e.begun.Add(1)
	e.mu.Unlock()
	return Ticket{endpoint: e, slot: slot, sequence: sequence}
}

// publishOldest publishes when the oldest request without an answer began. The caller holds e.mu. A load is far cheaper than a store.
func (e *Endpoint) publishOldest() {
	if oldest := e.open.oldest(); oldest != e.oldest.Load() {
		e.oldest.Store(oldest)
	}
}

// Answered records the first byte of the answer. The request stays in flight, but its age does not count any more. A latency above the
// estimate counts at once. One below it counts when the request is done with success, so that fast errors look no better than they are.
func (t Ticket) Answered(now time.Duration) {
	e := t.endpoint
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.open.find(t)
	if r == nil || r.stream || r.answered {
		return
	}
	e.countWaiting(now)
	e.open.unlink(t.slot)
	e.publishOldest()
	r.answered, r.latency = true, max(now-r.start, 0)
	if float64(r.latency) > math.Float64frombits(e.latency.Load()) {
		e.observeLatency(now, r.latency)
	}
}

// Done ends the request. It returns the latency, which is zero for streams, and whether this was the first call of Done. Later calls do
// nothing.
func (t Ticket) Done(now time.Duration, o Outcome) (latency time.Duration, first bool) {
	e := t.endpoint
	if e == nil {
		return 0, false
	}
	e.mu.Lock()
	r := e.open.find(t)
	if r == nil {
		e.mu.Unlock()
		return 0, false
	}
	ended := *r
	e.countWaiting(now)
	e.open.remove(t.slot)
	e.publishOldest()
	latency = ended.latencyAt(now)
	e.learn(now, o, latency, ended.stream)
	e.ended.Add(1)
	e.mu.Unlock()
	return latency, true
}

// learn takes the outcome of a request into the state. The caller holds e.mu.
func (e *Endpoint) learn(now time.Duration, o Outcome, latency time.Duration, stream bool) {
	switch o {
	case Neutral:
		return
	case Success:
		e.observeFailure(now, 0)
	default:
		e.observeFailure(now, 1)
	}
	if !stream && (o == Success || o == Timeout) {
		e.observeLatency(now, latency)
	}
}

// A request is one request in flight, or a free slot. Neighbours are indexes of slots; -1 is none.
type request struct {
	start, latency time.Duration
	previous, next int32
	sequence       uint32 // changes when the slot is freed, so that an old Ticket finds nothing
	busy           bool
	stream         bool
	answered       bool
}

// latencyAt returns the time to the first byte, or to now without one.
func (r *request) latencyAt(now time.Duration) time.Duration {
	switch {
	case r.stream:
		return 0
	case r.answered:
		return r.latency
	}
	return max(now-r.start, 0)
}

// requests are the requests in flight. Those without an answer form a list by age, from first to last. Free slots form a list by next.
type requests struct {
	slots             []request
	first, last, free int32
	waiting           int // length of the list by age
}

func noRequests() requests { return requests{first: -1, last: -1, free: -1} }

// add takes a slot for a request.
func (q *requests) add(now time.Duration, stream bool) int32 {
	slot := q.free
	if slot < 0 {
		q.slots = append(q.slots, request{})
		slot = int32(len(q.slots) - 1)
	} else {
		q.free = q.slots[slot].next
	}
	r := &q.slots[slot]
	*r = request{start: now, previous: -1, next: -1, sequence: r.sequence, busy: true, stream: stream}
	if !stream {
		q.link(slot)
	}
	return slot
}

// link puts a slot at the end of the list. Requests that begin at the same time on several threads may be out of order by their race.
func (q *requests) link(slot int32) {
	q.waiting++
	q.slots[slot].previous = q.last
	if q.last < 0 {
		q.first = slot
	} else {
		q.slots[q.last].next = slot
	}
	q.last = slot
}

// unlink takes a slot out of the list.
func (q *requests) unlink(slot int32) {
	q.waiting--
	r := &q.slots[slot]
	if r.previous < 0 {
		q.first = r.next
	} else {
		q.slots[r.previous].next = r.next
	}
	if r.next < 0 {
		q.last = r.previous
	} else {
		q.slots[r.next].previous = r.previous
	}
	r.previous, r.next = -1, -1
}

// remove frees a slot.
func (q *requests) remove(slot int32) {
	r := &q.slots[slot]
	if !r.stream && !r.answered {
		q.unlink(slot)
	}
	*r = request{sequence: r.sequence + 1, next: q.free}
	q.free = slot
}

// find returns the request of a ticket, or nil if it is done.
func (q *requests) find(t Ticket) *request {
	r := &q.slots[t.slot]
	if !r.busy || r.sequence != t.sequence {
		return nil
	}
	return r
}

// oldest returns when the oldest request without an answer began.
func (q *requests) oldest() int64 {
	if q.first < 0 {
		return none
	}
	return int64(q.slots[q.first].start)
}
