package simulation

import "time"

// An event is something that happens at a time. Events of one time happen in the order in which they were scheduled.
type event struct {
	at      time.Duration
	order   uint64
	kind    kind
	client  int32
	server  int32
	request *request
	load    load
	version uint64
}

type kind uint8

const (
	arrival    kind = iota // a client has a request
	delivery               // a request reaches its server
	completion             // a server has finished a request
	answer                 // the answer reaches the client
	cancel                 // the server hears of it
	disturb                // the antagonists of a server change
	probeSent              // a probe reaches a server
	probeBack              // its answer reaches the client
	churn                  // a client resolves the service again
)

// events is a binary heap by time.
type events struct {
	heap  []event
	order uint64
}

func (q *events) add(e event) {
	q.order++
	e.order = q.order
	q.heap = append(q.heap, e)
	for i := len(q.heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if !q.heap[i].before(&q.heap[parent]) {
			return
		}
		q.heap[i], q.heap[parent] = q.heap[parent], q.heap[i]
		i = parent
	}
}

func (q *events) next() event {
	first := q.heap[0]
	last := len(q.heap) - 1
	q.heap[0] = q.heap[last]
	q.heap[last] = event{}
	q.heap = q.heap[:last]
	for i := 0; ; {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < last && q.heap[child].before(&q.heap[least]) {
				least = child
			}
		}
		if least == i {
			return first
		}
		q.heap[i], q.heap[least] = q.heap[least], q.heap[i]
		i = least
	}
}

func (e *event) before(other *event) bool {
	return e.at < other.at || e.at == other.at && e.order < other.order
}
