package statistics

import (
	"sync/atomic"
	"time"
)

// Endpoint has the counts of one endpoint. It is safe for concurrent use.
type Endpoint struct {
	service  *Service
	id       Identity
	cells    atomic.Pointer[[]*cell] // by the id of the method; nil for a method without requests
	detached atomic.Bool             // not in the reports, for lack of requests after Release

	released bool // guarded by the lock of the service
}

// Record counts a request. A latency below zero is no sample: the duration of a stream, for example.
func (e *Endpoint) Record(m Method, o Outcome, latency time.Duration) {
	e.cell(m).record(o, latency)
	if e.detached.Load() { // after the count: detach reads in the opposite order, so that one of the two notices the other
		e.service.reattach(e)
	}
}

// Release says that the endpoint is gone. Requests that are still in flight count. After a report without any, the endpoint leaves the
// memory of the service.
func (e *Endpoint) Release() {
	e.service.mu.Lock()
	defer e.service.mu.Unlock()
	e.released = true
}

// cell returns the cell of a method.
func (e *Endpoint) cell(m Method) *cell {
	if cells := *e.cells.Load(); m.id < len(cells) && cells[m.id] != nil {
		return cells[m.id]
	}
	return e.addCell(m)
}

// addCell returns a new cell, or that of OtherMethod if the service has too many.
func (e *Endpoint) addCell(m Method) *cell {
	s := e.service
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cells >= maxCells {
		m = Method{}
	}
	cells := *e.cells.Load()
	if m.id < len(cells) && cells[m.id] != nil {
		return cells[m.id]
	}
	next := make([]*cell, max(len(cells), m.id+1))
	copy(next, cells)
	next[m.id] = newCell()
	e.cells.Store(&next)
	s.cells++
	return next[m.id]
}

// size returns how many cells the endpoint has.
func (e *Endpoint) size() (n int) {
	for _, c := range *e.cells.Load() {
		if c != nil {
			n++
		}
	}
	return n
}
