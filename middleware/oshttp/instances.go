package oshttp

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/internal/sanitize"
)

const (
	// coolDown is how long an instance is chosen last after a failed connection. It doubles up to maxCoolDown.
	coolDown    = time.Second
	maxCoolDown = 30 * time.Second
	// misdirection is how long an instance gets no requests after it refused one as misdirected, unless its record changes.
	misdirection = 30 * time.Second
	// maxName bounds the bytes of names from the registry in telemetry: other programs may have written them.
	maxName = 256
	// handshakeTimeout bounds the handshake with an instance that accepts connections but stays silent, if Base sets no time.
	handshakeTimeout = 10 * time.Second
	// idleTimeout closes idle connections to instances if Base sets no time: connections to a removed instance must not stay.
	idleTimeout = 90 * time.Second
)

// route chooses the instances for the requests to one service.
type route struct {
	routeKey
	services *Services
	next     atomic.Uint64
	current  atomic.Pointer[table] // nil if it must be rebuilt

	mu        sync.Mutex
	instances map[string]*instance // that are or were in the table, by ID
	refusals  map[string]refusal   // by ID
}

// table holds the instances that requests choose from. It is immutable.
type table struct {
	from      *discovery.Snapshot
	until     time.Time // when a refusal ends; zero if there is none
	instances []*instance
	weights   []int // running sums; nil if all are equal
}

// refusal is why an instance gets no requests.
type refusal struct {
	record *discovery.Instance
	until  time.Time
}

func newRoute(s *Services, key routeKey) *route {
	return &route{routeKey: key, services: s, instances: map[string]*instance{}, refusals: map[string]refusal{}}
}

// pick returns an instance that was not tried yet, preferably one whose connections work. It returns nil once all were tried.
//
// The rest of the package uses only pick and instance.done for balancing.
func (r *route) pick(ctx context.Context, tried []*instance) (*instance, error) {
	t, err := r.table(ctx)
	if err != nil {
		return nil, err
	}
	now, start := time.Now().UnixNano(), t.position(r.next.Add(1))
	var cooling *instance
	for i := range t.instances {
		candidate := t.instances[(start+i)%len(t.instances)]
		switch {
		case slices.ContainsFunc(tried, candidate.same):
		case candidate.cool.Load() <= now:
			return candidate, nil
		case cooling == nil:
			cooling = candidate
		}
	}
	return cooling, nil
}

// position returns where the n-th request begins. With different weights, the golden ratio spreads the requests evenly.
func (t *table) position(n uint64) int {
	if t.weights == nil {
		return int(n % uint64(len(t.instances)))
	}
	const ratio = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio: Knuth, The Art of Computer Programming, 6.4
	point := float64(n*ratio) / math.MaxUint64 * float64(t.weights[len(t.weights)-1])
	return min(sort.SearchInts(t.weights, int(point)+1), len(t.weights)-1)
}

// table returns the present table.
func (r *route) table(ctx context.Context) (*table, error) {
	t := r.current.Load()
	if t == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.services.opts.Timeout)
		defer cancel()
	}
	snapshot, err := r.services.resolver.Lookup(ctx, r.service)
	if err != nil {
		return nil, err
	}
	if t == nil || t.from != snapshot || !t.until.IsZero() && time.Now().After(t.until) {
		t = r.rebuild(snapshot)
	}
	if len(t.instances) == 0 {
		return nil, r.none(snapshot)
	}
	return t, nil
}

// none returns the error of a service without an instance to choose.
func (r *route) none(s *discovery.Snapshot) error {
	why := "all instances have deregistered"
	if n := len(s.Instances); n > 0 {
		why = fmt.Sprintf("none of the %d instances has an address of the protocol %q and passes the filters", n, r.scheme)
	}
	return &discovery.Error{Op: "lookup", Service: r.service, Err: fmt.Errorf("%w: %s", discovery.ErrUnavailable, why)}
}

// rebuild makes the table of a snapshot, and closes the idle connections of the instances that are not in it.
func (r *route) rebuild(s *discovery.Snapshot) *table {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &table{from: s}
	filters := append(slices.Clone(r.services.opts.Filters), discovery.WithProtocol(r.scheme))
	now := time.Now()
	maps.DeleteFunc(r.refusals, func(_ string, refused refusal) bool { return !refused.until.After(now) })
	chosen := s.Preferred(append(slices.Clone(filters), func(i *discovery.Instance) bool { return !r.refused(i) })...)
	if len(chosen) == 0 {
		chosen = s.Preferred(filters...) // a refusal is more specific than no instance
	}
	for _, refusal := range r.refusals {
		if t.until.IsZero() || refusal.until.Before(t.until) {
			t.until = refusal.until
		}
	}
	before := r.instances
	r.instances = make(map[string]*instance, len(chosen))
	for _, record := range chosen {
		i := before[record.ID]
		if i == nil || i.address != record.Addresses[r.scheme] {
			i = newInstance(r, record.ID, record.Addresses[r.scheme])
		}
		i.record.Store(&record)
		r.instances[record.ID] = i
		t.instances = append(t.instances, i)
	}
	for id, old := range before {
		if r.instances[id] != old {
			old.transport.CloseIdleConnections()
		}
	}
	t.weights = weights(chosen)
	r.current.Store(t)
	return t
}

// weights returns the running sums of the weights, or nil if all are equal.
func weights(instances []discovery.Instance) []int {
	sums, sum, equal := make([]int, len(instances)), 0, true
	for n, i := range instances {
		sum += i.Weight
		sums[n] = sum
		equal = equal && i.Weight == instances[0].Weight
	}
	if equal {
		return nil
	}
	return sums
}

// refused reports whether an instance gets no requests since it refused one. A refusal ends with the record that it was about.
// r.mu is held.
func (r *route) refused(i *discovery.Instance) bool {
	refusal, ok := r.refusals[i.ID]
	if ok && !reflect.DeepEqual(refusal.record, i) {
		delete(r.refusals, i.ID)
		return false
	}
	return ok
}

// refuse takes an instance out of the table. An instance that is already refused is in the table only because all are: the table
// stays.
func (r *route) refuse(ctx context.Context, i *instance) {
	now, record := time.Now(), i.record.Load()
	r.mu.Lock()
	before, known := r.refusals[i.id]
	known = known && before.until.After(now) && reflect.DeepEqual(before.record, record)
	if !known {
		r.refusals[i.id] = refusal{record, now.Add(misdirection)}
		r.current.Store(nil)
	}
	r.mu.Unlock()
	if !known {
		r.services.misdirected.Emit(ctx, serviceAttr.String(sanitize.Text(r.service, maxName)), instanceAttr.String(sanitize.Text(i.id, maxName)))
	}
}

func (r *route) closeIdle() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range r.instances {
		i.transport.CloseIdleConnections()
	}
}

// instance is one instance of a service at one address, with its connections.
type instance struct {
	route     *route
	id        string
	address   string
	transport *http.Transport
	peer      []attribute.KeyValue // for spans
	named     namedHeaders

	record   atomic.Pointer[discovery.Instance]
	cool     atomic.Int64 // until when it is chosen last, as UnixNano
	failures atomic.Int32 // of connections, in a row
}

func newInstance(r *route, id, address string) *instance {
	i := &instance{route: r, id: id, address: address, peer: peerOf(id, address), named: nameIn(r.service, id)}
	base := r.services.opts.Base
	t := base.Clone()
	t.Proxy = nil
	if _, ok := base.TLSNextProto["h2"]; ok { // with a dialer, HTTP/2 must be forced; no pool is shared
		t.TLSNextProto, t.ForceAttemptHTTP2 = nil, true
	}
	t.DialContext = i.dialer(base.DialContext)
	if base.DialTLSContext != nil {
		t.DialTLSContext = i.dialer(base.DialTLSContext)
	}
	t.IdleConnTimeout = cmp.Or(t.IdleConnTimeout, idleTimeout)
	t.TLSHandshakeTimeout = cmp.Or(t.TLSHandshakeTimeout, handshakeTimeout)
	i.transport = t
	return i
}

// same reports whether another one is this instance at this address.
func (i *instance) same(other *instance) bool { return i.id == other.id && i.address == other.address }

type dial = func(ctx context.Context, network, address string) (net.Conn, error)

// dialer connects to the instance, for any host in the URL.
func (i *instance) dialer(to dial) dial {
	if to == nil {
		to = (&net.Dialer{}).DialContext
	}
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		conn, err := to(ctx, network, i.address)
		if err != nil {
			return nil, &dialError{i.route.service, i.id, err}
		}
		return conn, nil
	}
}

// dialError is the error of a connection that was not made.
type dialError struct {
	service, id string
	err         error
}

// Error implements error.
func (e *dialError) Error() string {
	return fmt.Sprintf("instance %q of %q: %v", e.id, e.service, e.err)
}

// Unwrap returns the cause.
func (e *dialError) Unwrap() error { return e.err }

// done records whether a connection to the instance worked.
func (i *instance) done(ok bool) {
	resolver := i.route.services.resolver
	if ok {
		if i.failures.Load() != 0 {
			i.failures.Store(0)
			i.cool.Store(0)
			resolver.Report(i.route.service, i.id, true)
		}
		return
	}
	wait := min(coolDown<<min(i.failures.Add(1)-1, 10), maxCoolDown)
	i.cool.Store(time.Now().Add(wait).UnixNano())
	resolver.Report(i.route.service, i.id, false)
}

const (
	serviceAttr  = attribute.Key("goos.discovery.service")
	instanceAttr = attribute.Key("goos.discovery.instance")
	armAttr      = attribute.Key("goos.router.arm")
)

// peerOf returns the attributes of a span about an instance. Only an IP address is a network.peer.address.
func peerOf(id, address string) []attribute.KeyValue {
	attrs := []attribute.KeyValue{instanceAttr.String(sanitize.Text(id, maxName))}
	if ap, err := netip.ParseAddrPort(address); err == nil {
		attrs = append(attrs, semconv.NetworkPeerAddress(ap.Addr().String()), semconv.NetworkPeerPort(int(ap.Port())))
	}
	return attrs
}
