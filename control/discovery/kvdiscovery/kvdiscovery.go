// Package kvdiscovery keeps the instances of services in a kv.Store: memory, etcd, Consul, NATS, or any other engine with the abilities CAS,
// Watch and Expiry.
//
//	store := kv.New(etcdkv.New(client, nil), nil).Namespace("services")
//	registry, err := kvdiscovery.New(store, nil)
//
// A record is the JSON of one instance at the key "<service>/<id>". It lives with the lease of its process. A goodbye is the same record with
// the state "gone" and a TTL of its own.
//
// # Engines without leases
//
// On an engine without the ability Leases, such as NATS, each record has the TTL of its lease, and a renewal writes it again. That is one
// write for each record of the process, three times a TTL, and each write reaches every watch of the service. Readers discard renewals. Use
// long TTLs on such an engine.
//
// # Draining from outside
//
// A record is written by its process alone. Registry.Drain leaves an order at the key "<service>/<id>/drain". The process notices it, and
// writes its record with the state "draining" until the order is taken back or ends. Its Registration does not show that.
//
// # Plain gRPC clients
//
// With Options.Naming, instances are also written in the format of go.etcd.io/etcd/client/v3/naming. A gRPC client then finds them through
// etcd's own resolver, without this module:
//
//	registry, err := kvdiscovery.New(store.Namespace("services"), &kvdiscovery.Options{Naming: store.Namespace("grpc")})
//	…
//	conn, err := grpc.NewClient("etcd:///grpc/orders", grpc.WithResolvers(builder), …)
//
// The endpoint lives with the lease of the instance. It is removed while the instance drains, is unhealthy or has no weight, and written
// again if another client removes it. Such a client has none of the guarantees of discovery.Resolver: etcd's resolver removes every
// endpoint whose key vanishes, and does not recover from a compaction.
package kvdiscovery

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/internal/backoff"
	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/sanitize"
	"github.com/go-os/go-os/state/kv"
)

// Registry is a registry in a kv.Store. It implements driver.Registrar and driver.Reader.
type Registry struct {
	store  *kv.Store
	naming *naming // nil without Options.Naming
	orders orders  // about the instances of this process
}

// Options configure New.
type Options struct {
	// Naming is where instances are also written in the format of etcd's naming package. It must be on the engine of the store of records,
	// under other keys: another Namespace. Default: nowhere.
	Naming *kv.Store
	// NamingProtocol is the protocol of the addresses in Naming. Default: DefaultNamingProtocol.
	NamingProtocol string
}

// New returns a registry in a store, which stays open when the registry is closed. It returns errors.ErrUnsupported if the engine lacks an
// ability, and kv.ErrInvalid without a store, or if an option is invalid.
func New(store *kv.Store, opts *Options) (*Registry, error) {
	if err := defaults.Given("kvdiscovery: New", "store", store); err != nil {
		return nil, err
	}
	if err := store.Require(kv.CAS, kv.Watch, kv.Expiry); err != nil {
		return nil, fmt.Errorf("kvdiscovery: %w", err)
	}
	names, err := newNaming(store, defaults.Copy(opts))
	if err != nil {
		return nil, err
	}
	return &Registry{store: store, naming: names}, nil
}

// System implements driver.Reader.
func (r *Registry) System() string { return r.store.Capabilities().System }

// Capabilities implements driver.Registrar.
func (r *Registry) Capabilities() driver.Capabilities {
	caps := r.store.Capabilities()
	return driver.Capabilities{System: caps.System, MinTTL: caps.TTL.Min, MaxTTL: caps.TTL.Max, MaxRecord: caps.MaxValue}
}

// Close implements driver.Registrar and driver.Reader. The store stays open.
func (*Registry) Close() error { return nil }

// Grant implements driver.Registrar.
func (r *Registry) Grant(ctx context.Context, ttl time.Duration) (driver.Lease, error) {
	l := &lease{store: r.store, naming: r.naming, orders: &r.orders, written: map[place]item{}}
	if !r.leases() {
		l.lifetime = newExpiry(l, ttl)
		return l, nil
	}
	g, err := r.store.Lease(ctx, ttl)
	if err != nil {
		return nil, err
	}
	l.lifetime = granted{g}
	return l, nil
}

// leases reports whether the engine has leases.
func (r *Registry) leases() bool { return r.store.Require(kv.Leases) == nil }

// value is a record as it is stored.
type value struct {
	Version     string            `json:"version,omitempty"`
	Addresses   map[string]string `json:"addresses"`
	Zone        string            `json:"zone,omitempty"`
	Weight      int               `json:"weight"`
	Labels      map[string]string `json:"labels,omitempty"`
	State       string            `json:"state"`
	Incarnation string            `json:"incarnation"`
	Epoch       uint64            `json:"epoch"`
}

func key(r driver.Record) string { return r.Service + "/" + r.ID }

func encode(r driver.Record) ([]byte, error) {
	return json.Marshal(value{
		Version: r.Version, Addresses: r.Addresses, Zone: r.Zone, Weight: r.Weight, Labels: r.Labels,
		State: r.State.String(), Incarnation: r.Incarnation, Epoch: r.Epoch,
	})
}

// maxText is the length of the longest text from the store in an error, in bytes. Such an error is kept, sent and logged.
const maxText = 256

// decode returns the record of an item.
func decode(it kv.Item) (driver.Record, error) {
	service, id, ok := strings.Cut(it.Key, "/")
	r := driver.Record{Instance: driver.Instance{Service: service, ID: id}}
	var v value
	err := json.Unmarshal(it.Value, &v)
	state, unknown := driver.ParseState(v.State)
	switch {
	case !ok || id == "" || strings.Contains(id, "/"):
		return r, fmt.Errorf("%w: the key %q is not that of an instance: want <service>/<id>", driver.ErrInvalid, sanitize.Text(it.Key, maxText))
	case err != nil: // its text, and the error itself, may repeat a part of the value
		return r, fmt.Errorf("%w: %s", driver.ErrInvalid, sanitize.Text(err.Error(), maxText))
	case unknown != nil:
		return r, unknown
	case v.Epoch >= driver.MaxEpoch:
		return r, fmt.Errorf("%w: epoch %d: use less than %d", driver.ErrInvalid, v.Epoch, uint64(driver.MaxEpoch))
	case len(v.Addresses) == 0:
		return r, fmt.Errorf("%w: no addresses", driver.ErrInvalid)
	}
	r.Version, r.Addresses, r.Zone, r.Weight, r.Labels, r.State = v.Version, v.Addresses, v.Zone, v.Weight, v.Labels, state
	r.Incarnation, r.Epoch = v.Incarnation, v.Epoch
	return r, nil
}

// lease implements driver.Lease.
type lease struct {
	lifetime
	store  *kv.Store
	naming *naming // nil without Options.Naming
	orders *orders

	mu      sync.Mutex
	written map[place]item // under this lease
}

// place is where an item is.
type place struct {
	store *kv.Store
	key   string
}

// item is a written item.
type item struct {
	version kv.Version
	value   []byte
}

// Epoch implements driver.Lease.
func (l *lease) Epoch(ctx context.Context, service, id string, least uint64) (uint64, error) {
	_, present, err := l.present(ctx, driver.Record{Instance: driver.Instance{Service: service, ID: id}})
	if err != nil {
		return 0, err
	}
	return max(least, present.Epoch+1), nil
}

// present returns the item of a record and its content. A missing item has no version. One that cannot be decoded has an empty record, and
// is overwritten.
func (l *lease) present(ctx context.Context, r driver.Record) (kv.Item, driver.Record, error) {
	it, err := l.store.Get(ctx, key(r))
	if errors.Is(err, kv.ErrNotFound) {
		return kv.Item{}, driver.Record{}, nil
	}
	if err != nil {
		return kv.Item{}, driver.Record{}, err
	}
	there, err := decode(it)
	if err != nil {
		return it, driver.Record{}, nil
	}
	return it, there, nil
}

// Register implements driver.Lease.
func (l *lease) Register(ctx context.Context, r driver.Record) error {
	r = l.orders.apply(r)
	if err := l.register(ctx, r); err != nil || l.naming == nil {
		return err
	}
	return l.name(ctx, r)
}

func (l *lease) register(ctx context.Context, r driver.Record) error {
	data, err := encode(r)
	if err != nil {
		return err
	}
	wait := retries
	for {
		it, there, err := l.present(ctx, r)
		switch {
		case err != nil:
			return err
		case there.Incarnation != r.Incarnation && there.Epoch >= r.Epoch && there.State != driver.Gone:
			return fmt.Errorf("%w: %s is registered by a process that started later (incarnation %s)", driver.ErrConflict, key(r), sanitize.Text(there.Incarnation, maxText))
		case it.Version != 0 && it.Version == l.version(place{l.store, key(r)}) && bytes.Equal(it.Value, data):
			return nil
		}
		if err := l.put(ctx, place{l.store, key(r)}, data, condition(it)); !errors.Is(err, kv.ErrConflict) {
			return err
		}
		if err := wait.Wait(ctx); err != nil {
			return err
		}
	}
}

// retries is how writers that meet step aside.
var retries = backoff.Backoff{First: time.Millisecond, Longest: 100 * time.Millisecond}

// condition requires that the item is unchanged since it was read.
func condition(it kv.Item) kv.PutOption {
	if it.Version == 0 {
		return kv.IfAbsent()
	}
	return kv.IfVersion(it.Version)
}

// put writes an item that lives with the lease.
func (l *lease) put(ctx context.Context, at place, value []byte, condition kv.PutOption) error {
	bound, done, err := l.bind(ctx, at)
	if err != nil {
		return err
	}
	defer done()
	version, err := at.store.Put(ctx, at.key, value, condition, bound)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.written[at] = item{version, value}
	return nil
}

// version returns the version of an item as it was written under this lease; zero if it was not.
func (l *lease) version(at place) kv.Version {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.written[at].version
}

// forget takes an item out of the lease, unless it was written again.
func (l *lease) forget(at place, version kv.Version) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.written[at].version == version {
		delete(l.written, at)
	}
}

// Deregister implements driver.Lease.
func (l *lease) Deregister(ctx context.Context, r driver.Record, keep time.Duration) error {
	var named error
	if l.naming != nil {
		named = l.unname(ctx, r) // the goodbye matters more
	}
	return cmp.Or(l.deregister(ctx, r, keep), named)
}

func (l *lease) deregister(ctx context.Context, r driver.Record, keep time.Duration) error {
	data, err := encode(r)
	if err != nil {
		return err
	}
	wait := retries
	for {
		it, there, err := l.present(ctx, r)
		if err != nil || !replaceable(it, there, r) {
			return err
		}
		if _, err = l.store.Put(ctx, key(r), data, condition(it), kv.TTL(keep)); !errors.Is(err, kv.ErrConflict) {
			return err
		}
		if err := wait.Wait(ctx); err != nil {
			return err
		}
	}
}

// replaceable reports whether a goodbye may replace the present content: the own record, the goodbye of another process, or nothing.
// Without a goodbye, a request to register that arrives late would bring the instance back.
func replaceable(it kv.Item, there, r driver.Record) bool {
	switch {
	case it.Version == 0:
		return true
	case there.Incarnation == r.Incarnation:
		return there.State != driver.Gone && there.Epoch <= r.Epoch // a later one is a registration that followed
	}
	return there.State == driver.Gone && there.Epoch < r.Epoch
}

// Watch implements driver.Lease. It also follows the orders for the instance.
func (l *lease) Watch(ctx context.Context, r driver.Record, changed func()) error {
	var mu sync.Mutex
	each := func() {
		mu.Lock()
		defer mu.Unlock()
		changed()
	}
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return l.watch(ctx, place{l.store, key(r)}, each) })
	all.Go(func() error { return l.orders.follow(ctx, l.store, key(r), each) })
	if l.naming != nil {
		all.Go(func() error { return l.watch(ctx, place{l.naming.store, key(r)}, each) })
	}
	return all.Wait()
}

// watch calls changed after an item was written or removed.
func (l *lease) watch(ctx context.Context, at place, changed func()) error {
	for event, err := range at.store.Watch(ctx, at.key, kv.Current()) {
		if err != nil {
			return err
		}
		if event.Kind != kv.EventLost && event.Kind != kv.EventResync && !l.renewal(ctx, at, event) {
			changed()
		}
	}
	return nil
}

// Services implements driver.Lister. It lists the keys of all services.
func (r *Registry) Services(ctx context.Context) (all []string, err error) {
	for item, err := range r.store.List(ctx, "") {
		if err != nil {
			return nil, err
		}
		service, _, _ := strings.Cut(item.Key, "/")
		if len(all) == 0 || all[len(all)-1] != service {
			all = append(all, service)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// Watch implements driver.Reader.
func (r *Registry) Watch(ctx context.Context, service string, emit func(driver.Event) error) error {
	var renewals *repeats
	if !r.leases() {
		renewals = &repeats{last: map[string]string{}}
	}
	for event, err := range r.store.WatchPrefix(ctx, service+"/", kv.Current()) {
		if err != nil {
			return err
		}
		if isOrder(event) || renewals != nil && renewals.drop(event) {
			continue
		}
		if err := emit(translate(service, event)); err != nil {
			return err
		}
	}
	return nil
}

// translate converts an event of the store to an event of a service.
func translate(service string, event kv.Event) driver.Event {
	id := strings.TrimPrefix(event.Item.Key, service+"/")
	out := driver.Event{Record: driver.Record{Instance: driver.Instance{Service: service, ID: id}}}
	switch event.Kind {
	case kv.EventResync:
		out.Kind = driver.EventResync
	case kv.EventSynced:
		out.Kind = driver.EventSynced
	case kv.EventLost:
		out.Kind, out.Err = driver.EventLost, fmt.Errorf("%w: the watch of the store is lost", driver.ErrUnavailable)
	case kv.EventDelete:
		out.Kind = driver.EventDelete
	case kv.EventPut:
		record, err := decode(event.Item)
		if err != nil {
			out.Kind, out.Err = driver.EventInvalid, err
			break
		}
		out.Kind, out.Record = driver.EventPut, record
	}
	return out
}
