package statistics

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-os/go-os/internal/sanitize"
)

// OtherMethod is the name of all methods past MaxMethods.
const OtherMethod = "_OTHER"

const (
	// MaxMethods is how many methods of a service have counts of their own.
	MaxMethods = 200
	// maxCells bounds the memory of a service: past it, new methods of an endpoint count as OtherMethod. A cell takes 2 kB.
	maxCells = 4096
	// maxText is the length of the longest name in a report, in bytes.
	maxText = 256
)

// Method is a method of a Service. The zero value is OtherMethod.
type Method struct {
	id   int
	name string
}

// Name returns the name, one of at most MaxMethods + 1.
func (m Method) Name() string {
	if m.id == 0 {
		return OtherMethod
	}
	return m.name
}

// Service has the counts of a service. It is safe for concurrent use.
type Service struct {
	name, protocol string
	methods        atomic.Pointer[map[string]Method]
	unrouted       *Endpoint

	mu        sync.Mutex
	names     []string // of methods, by id
	cells     int
	endpoints map[Identity]*Endpoint
	order     []*Endpoint // the same, in the order of reports
	from      time.Time   // when the counts begin
}

func newService(name, protocol string, now time.Time) *Service {
	s := &Service{name: name, protocol: protocol, names: []string{OtherMethod}, endpoints: map[Identity]*Endpoint{}, from: now}
	s.methods.Store(&map[string]Method{})
	s.unrouted = s.newEndpoint(Identity{})
	return s
}

// Method returns the method of this name: the route of a request, never its path. Past MaxMethods it is OtherMethod.
func (s *Service) Method(name string) Method {
	methods := *s.methods.Load()
	if m, ok := methods[name]; ok || len(methods) >= MaxMethods {
		return m
	}
	return s.addMethod(name)
}

func (s *Service) addMethod(name string) Method {
	s.mu.Lock()
	defer s.mu.Unlock()
	methods := *s.methods.Load()
	if m, ok := methods[name]; ok || len(methods) >= MaxMethods {
		return m
	}
	next := maps.Clone(methods)
	m := Method{id: len(s.names), name: sanitize.Text(name, maxText)}
	next[name] = m
	s.names = append(s.names, m.name)
	s.methods.Store(&next)
	return m
}

// Unrouted counts a request that got no endpoint.
func (s *Service) Unrouted(m Method) { s.unrouted.Record(m, Dropped, -1) }

// Endpoint returns the counts of an endpoint: the same ones for the same Identity.
func (s *Service) Endpoint(id Identity) *Endpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.endpoints[id]
	if e == nil {
		e = s.newEndpoint(id)
		s.attach(e)
	}
	e.released = false
	return e
}

func (s *Service) newEndpoint(id Identity) *Endpoint {
	e := &Endpoint{service: s, id: id}
	e.cells.Store(new([]*cell))
	return e
}

// attach makes an endpoint part of the reports. The caller holds the lock.
func (s *Service) attach(e *Endpoint) {
	e.detached.Store(false)
	if s.endpoints[e.id] == nil {
		s.endpoints[e.id] = e
	}
	s.order = append(s.order, e)
	s.cells += e.size()
}

// reattach makes an endpoint part of the reports again, because it has had a request.
func (s *Service) reattach(e *Endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.detached.Load() {
		s.attach(e)
	}
}

// take returns the counts as reports of up to limit rows, and sets them to zero. There are none if there was no request.
func (s *Service) take(now time.Time, limit int) []Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := pages{limit: limit, head: Report{Version: Version, Service: s.name, Protocol: s.protocol, From: s.from, To: now}}
	s.takeEndpoint(s.unrouted, func(m MethodReport) {
		r := p.page()
		r.Unrouted = append(r.Unrouted, m)
	})
	s.order = slices.DeleteFunc(s.order, func(e *Endpoint) bool {
		active := s.takeEndpoint(e, func(m MethodReport) { p.add(e.id, m) })
		return e.released && !active && s.detach(e)
	})
	s.from = now
	return p.all
}

// takeEndpoint passes the counts of an endpoint to add, and reports whether there are any.
func (s *Service) takeEndpoint(e *Endpoint, add func(MethodReport)) (active bool) {
	for id, c := range *e.cells.Load() {
		if c == nil {
			continue
		}
		if m := c.take(s.names[id]); m.requests() > 0 || m.Latency.Count() > 0 {
			add(m)
			active = true
		}
	}
	return active
}

// detach takes a released endpoint out of the memory of the service. It returns false if the endpoint has just had a request. The caller
// holds the lock.
func (s *Service) detach(e *Endpoint) bool {
	e.detached.Store(true)
	for _, c := range *e.cells.Load() {
		if c == nil {
			continue
		}
		if !c.idle() {
			e.detached.Store(false)
			return false
		}
	}
	if s.endpoints[e.id] == e {
		delete(s.endpoints, e.id)
	}
	s.cells -= e.size()
	return true
}

// restore adds the counts of a report that take has returned.
func (s *Service) restore(r *Report) {
	for i := range r.Unrouted {
		s.unrouted.cell(s.methodOf(r.Unrouted[i].Method)).restore(&r.Unrouted[i])
	}
	for i := range r.Endpoints {
		e := s.endpointOf(r.Endpoints[i].Identity)
		for j := range r.Endpoints[i].Methods {
			m := &r.Endpoints[i].Methods[j]
			e.cell(s.methodOf(m.Method)).restore(m)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.From.Before(s.from) {
		s.from = r.From
	}
}

// methodOf returns the method with a name that a report has.
func (s *Service) methodOf(name string) Method {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id := slices.Index(s.names, name); id > 0 {
		return Method{id, name}
	}
	return Method{}
}

// endpointOf returns the endpoint that a report names. If it has left the memory, it returns a released one.
func (s *Service) endpointOf(id Identity) *Endpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.endpoints[id]
	if e == nil {
		e = s.newEndpoint(id)
		e.released = true
		s.attach(e)
	}
	return e
}

// pages divides rows into reports of a limited size.
type pages struct {
	limit int
	head  Report
	all   []Report
	rows  int // in the last of all
}

// page returns the report that the next row belongs to.
func (p *pages) page() *Report {
	if len(p.all) == 0 || p.rows >= p.limit {
		p.all = append(p.all, p.head)
		p.rows = 0
	}
	p.rows++
	return &p.all[len(p.all)-1]
}

// add adds a row of an endpoint.
func (p *pages) add(id Identity, m MethodReport) {
	r := p.page()
	last := len(r.Endpoints) - 1
	if last < 0 || r.Endpoints[last].Identity != id {
		r.Endpoints = append(r.Endpoints, EndpointReport{Identity: id})
		last++
	}
	r.Endpoints[last].Methods = append(r.Endpoints[last].Methods, m)
}
