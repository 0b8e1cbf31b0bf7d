package discoverytest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/go-os/go-os/control/discovery/driver"
)

// breakage is a way to break a driver, and the promises that must notice it.
type breakage struct {
	spoil   func(*broken)
	noticed []string
}

// onLease spoils the leases of a driver.
func onLease(spoil func(*brokenLease)) func(*broken) {
	return func(b *broken) { b.lease = spoil }
}

// onRecord changes records on their way into the registry.
func onRecord(change func(*driver.Record)) func(*broken) {
	return onLease(func(l *brokenLease) {
		l.register = func(ctx context.Context, r driver.Record) error {
			change(&r)
			return l.Lease.Register(ctx, r)
		}
	})
}

// onEvents changes the events of a watch.
func onEvents(filter func() func(driver.Event) []driver.Event) func(*broken) {
	return func(b *broken) { b.filtered(filter()) }
}

// without drops the events that a function matches.
func without(match func(driver.Event) bool) func(*broken) {
	return onEvents(func() func(driver.Event) []driver.Event {
		return func(e driver.Event) []driver.Event {
			if match(e) {
				return nil
			}
			return []driver.Event{e}
		}
	})
}

func breakages() map[string]breakage {
	all := map[string]breakage{}
	for _, part := range []map[string]breakage{brokenRecords(), brokenLeases(), brokenOwners(), brokenGoodbyes(), brokenWatches(), brokenCalls(), brokenFaults()} {
		for name, b := range part {
			all[name] = b
		}
	}
	return all
}

func brokenRecords() map[string]breakage {
	return map[string]breakage{
		"drops labels without a value": {onRecord(func(r *driver.Record) {
			labels := map[string]string{}
			for name, value := range r.Labels {
				if value != "" {
					labels[name] = value
				}
			}
			r.Labels = labels
		}), []string{"records/found as written"}},
		"drops all but one address": {onRecord(func(r *driver.Record) {
			r.Addresses = map[string]string{"grpc": r.Addresses["grpc"]}
		}), []string{"records/found as written"}},
		"takes no weight for one": {onRecord(func(r *driver.Record) { r.Weight = max(r.Weight, 1) }), []string{"records/found as written"}},
		"knows one state":         {onRecord(func(r *driver.Record) { r.State = driver.Up }), []string{"records/every state", "fleet/life of an instance"}},
		"takes names for one another": {onRecord(func(r *driver.Record) {
			r.ID = strings.ToLower(r.ID)
		}), []string{"records/names"}},
		"takes a prefix for a service": {func(b *broken) {
			b.watch = func(ctx context.Context, service string, emit func(driver.Event) error) error {
				return b.reconnecting(ctx, service, func(e driver.Event) error {
					if e.Kind == driver.EventSynced && strings.HasSuffix(service, "order") {
						for _, r := range b.present(service + "s") {
							if err := emit(driver.Event{Kind: driver.EventPut, Record: r}); err != nil {
								return err
							}
						}
					}
					return emit(e)
				})
			}
		}, []string{"records/services apart"}},
		"names no services": {func(b *broken) {
			b.services = func(context.Context) ([]string, error) { return nil, nil }
		}, []string{"records/many services"}},
		"writes what is there": {onLease(func(l *brokenLease) {
			l.register = func(ctx context.Context, r driver.Record) error {
				other := r
				other.Weight++
				if err := l.Lease.Register(ctx, other); err != nil {
					return err
				}
				return l.Lease.Register(ctx, r)
			}
		}), []string{"records/registered once"}},
		"writes nothing twice": {onLease(func(l *brokenLease) {
			var mu sync.Mutex
			written := map[string]driver.Record{}
			l.register = func(ctx context.Context, r driver.Record) error {
				mu.Lock()
				defer mu.Unlock()
				if before, ok := written[r.Service+r.ID]; ok && alike(before, r) == nil {
					return nil
				}
				written[r.Service+r.ID] = r
				return l.Lease.Register(ctx, r)
			}
		}), []string{"records/removed by hand", "records/altered by hand", "fleet/registered again after removal"}},
		"leaves what is spoilt": {onLease(func(l *brokenLease) {
			var mu sync.Mutex
			known := map[string]bool{}
			l.register = func(ctx context.Context, r driver.Record) error {
				mu.Lock()
				defer mu.Unlock()
				if _, ok := l.present(r.Service)[r.ID]; !ok && known[r.Service+r.ID] {
					return nil
				}
				known[r.Service+r.ID] = true
				return l.Lease.Register(ctx, r)
			}
		}), []string{"records/spoilt by hand"}},
		"takes a record by hand for its own": {onLease(func(l *brokenLease) {
			l.register = func(ctx context.Context, r driver.Record) error {
				if there, ok := l.present(r.Service)[r.ID]; ok && alike(there, r) == nil {
					return nil
				}
				return l.Lease.Register(ctx, r)
			}
		}), []string{"records/altered by hand"}},
	}
}

func brokenLeases() map[string]breakage {
	return map[string]breakage{
		"ends leases early": {func(b *broken) {
			b.grant = func(ctx context.Context, ttl time.Duration) (driver.Lease, error) {
				return b.registry.Grant(ctx, ttl*2/3)
			}
		}, []string{"leases/end after their TTL"}},
		"ends leases late": {func(b *broken) {
			b.grant = func(ctx context.Context, ttl time.Duration) (driver.Lease, error) {
				return b.registry.Grant(ctx, ttl*20)
			}
		}, []string{"leases/end after their TTL"}},
		"renews nothing": {onLease(func(l *brokenLease) {
			l.renew = func(context.Context) error { return nil }
		}), []string{"leases/renewed ones stay", "leases/ended ones are not found"}},
		"registers without a lease": {onLease(func(l *brokenLease) {
			l.register = func(ctx context.Context, r driver.Record) error {
				err := l.Lease.Register(ctx, r)
				if errors.Is(err, driver.ErrNotFound) {
					return nil
				}
				return err
			}
		}), []string{"leases/ended ones are not found"}},
		"revokes nothing": {onLease(func(l *brokenLease) {
			l.revoke = func(context.Context) error { return nil }
		}), []string{"leases/revoked with their records", "leases/one for several services"}},
		"does not see its own record": {onLease(func(l *brokenLease) {
			l.own = func(ctx context.Context, _ driver.Record, _ func()) error {
				<-ctx.Done()
				return nil
			}
		}), []string{"own/changes are noticed", "fleet/registered again after removal", "fleet/later start wins"}},
		"does not see that its record is removed": {onLease(func(l *brokenLease) {
			l.own = func(ctx context.Context, r driver.Record, changed func()) error {
				return l.Lease.Watch(ctx, r, func() {
					if _, ok := l.present(r.Service)[r.ID]; ok {
						changed()
					}
				})
			}
		}), []string{"own/changes are noticed"}},
		"takes another record for its own": {onLease(func(l *brokenLease) {
			l.own = func(ctx context.Context, r driver.Record, changed func()) error {
				return l.registry.Watch(ctx, r.Service, func(driver.Event) error {
					changed()
					return nil
				})
			}
		}), []string{"own/changes are noticed"}},
	}
}

func brokenOwners() map[string]breakage {
	return map[string]breakage{
		"knows no conflict": {onLease(func(l *brokenLease) {
			l.register = func(ctx context.Context, r driver.Record) error {
				err := l.Lease.Register(ctx, r)
				if !errors.Is(err, driver.ErrConflict) {
					return err
				}
				_ = l.remove(r.Service, r.ID)
				return l.Lease.Register(ctx, r)
			}
		}), []string{"owners/later start wins", "owners/one of many stays"}},
		"counts no epochs": {onLease(func(l *brokenLease) {
			l.epoch = func(_ context.Context, _, _ string, least uint64) (uint64, error) { return least, nil }
		}), []string{"owners/epochs grow"}},
		"says goodbye for a successor": {onLease(func(l *brokenLease) {
			l.deregister = func(_ context.Context, r driver.Record, _ time.Duration) error {
				return l.remove(r.Service, r.ID)
			}
		}), []string{"owners/goodbye spares a successor"}},
		"looks before it removes": {onLease(func(l *brokenLease) {
			l.deregister = func(_ context.Context, r driver.Record, _ time.Duration) error {
				if err := l.request(r.Service); err != nil {
					return err
				}
				if l.present(r.Service)[r.ID].Incarnation != r.Incarnation {
					return nil
				}
				if err := l.request(r.Service); err != nil {
					return err
				}
				return l.remove(r.Service, r.ID)
			}
		}), []string{"owners/late goodbye spares a successor"}},
		"looks before it writes": {onLease(func(l *brokenLease) {
			l.register = func(ctx context.Context, r driver.Record) error {
				if err := l.request(r.Service); err != nil {
					return err
				}
				there, ok := l.present(r.Service)[r.ID]
				if ok && there.Incarnation != r.Incarnation && there.Epoch >= r.Epoch {
					return driver.ErrConflict
				}
				if err := l.request(r.Service); err != nil {
					return err
				}
				_ = l.remove(r.Service, r.ID)
				return l.Lease.Register(ctx, r)
			}
		}), []string{"owners/late registration spares a successor"}},
		"takes a successor's record along": {onLease(func(l *brokenLease) {
			var mine []driver.Record
			l.register = func(ctx context.Context, r driver.Record) error {
				mine = append(mine, r)
				return l.Lease.Register(ctx, r)
			}
			l.revoke = func(ctx context.Context) error {
				for _, r := range mine {
					_ = l.remove(r.Service, r.ID)
				}
				return l.Lease.Revoke(ctx)
			}
		}), []string{"owners/lease end spares a successor"}},
	}
}

func brokenGoodbyes() map[string]breakage {
	deregister := func(do func(context.Context, *brokenLease, driver.Record, time.Duration) error) func(*broken) {
		return onLease(func(l *brokenLease) {
			l.deregister = func(ctx context.Context, r driver.Record, keep time.Duration) error { return do(ctx, l, r, keep) }
		})
	}
	return map[string]breakage{
		"leaves without a goodbye": {deregister(func(_ context.Context, l *brokenLease, r driver.Record, _ time.Duration) error {
			return l.remove(r.Service, r.ID)
		}), []string{"goodbyes/seen as gone", "goodbyes/outlive their lease", "goodbyes/end", "goodbyes/remove the instance"}},
		"ends goodbyes with the lease": {deregister(func(ctx context.Context, l *brokenLease, r driver.Record, _ time.Duration) error {
			return l.Lease.Register(ctx, r)
		}), []string{"goodbyes/outlive their lease", "goodbyes/end"}},
		"ends goodbyes early": {deregister(func(ctx context.Context, l *brokenLease, r driver.Record, keep time.Duration) error {
			return l.Lease.Deregister(ctx, r, keep/2)
		}), []string{"goodbyes/end"}},
		"ends goodbyes late": {deregister(func(ctx context.Context, l *brokenLease, r driver.Record, keep time.Duration) error {
			return l.Lease.Deregister(ctx, r, keep*20)
		}), []string{"goodbyes/end"}},
		"does not leave": {deregister(func(context.Context, *brokenLease, driver.Record, time.Duration) error {
			return nil
		}), []string{"goodbyes/remove the instance", "fleet/life of an instance"}},
	}
}

func brokenWatches() map[string]breakage {
	return map[string]breakage{
		"begins without a resync": {without(func(e driver.Event) bool {
			return e.Kind == driver.EventResync
		}), []string{"watch/one moment, then changes"}},
		"is synced before the records": {onEvents(func() func(driver.Event) []driver.Event {
			return func(e driver.Event) []driver.Event {
				switch e.Kind {
				case driver.EventResync:
					return []driver.Event{e, {Kind: driver.EventSynced}}
				case driver.EventSynced:
					return nil
				}
				return []driver.Event{e}
			}
		}), []string{"watch/one moment, then changes"}},
		"shows a snapshot twice": {onEvents(func() func(driver.Event) []driver.Event {
			return func(e driver.Event) []driver.Event {
				if e.Kind == driver.EventPut {
					return []driver.Event{e, e}
				}
				return []driver.Event{e}
			}
		}), []string{"watch/one moment, then changes"}},
		"waits for the first record": {onEvents(func() func(driver.Event) []driver.Event {
			var before []driver.Event
			known := false
			return func(e driver.Event) []driver.Event {
				if known = known || e.Kind == driver.EventPut; !known {
					before = append(before, e)
					return nil
				}
				shown := append(before, e)
				before = nil
				return shown
			}
		}), []string{"watch/unknown service"}},
		"loses the last changes": {without(func(e driver.Event) bool {
			return e.Kind == driver.EventPut && e.Record.Weight >= 20 && e.Record.Weight < 100
		}), []string{"watch/no change is lost"}},
		"shows no removals": {without(func(e driver.Event) bool {
			return e.Kind == driver.EventDelete
		}), []string{"watch/removed and written again", "watch/all removed at once"}},
		"shows an ID once": {onEvents(func() func(driver.Event) []driver.Event {
			shown := map[string]bool{}
			return func(e driver.Event) []driver.Event {
				if e.Kind == driver.EventPut {
					if shown[e.Record.ID] {
						return nil
					}
					shown[e.Record.ID] = true
				}
				return []driver.Event{e}
			}
		}), []string{"watch/removed and written again", "watch/no change is lost"}},
		"hides what is malformed": {without(func(e driver.Event) bool {
			return e.Kind == driver.EventInvalid
		}), []string{"watch/malformed record"}},
		"ends at what is malformed": {func(b *broken) {
			b.watch = func(ctx context.Context, service string, emit func(driver.Event) error) error {
				return b.reconnecting(ctx, service, func(e driver.Event) error {
					if e.Kind == driver.EventInvalid {
						return e.Err
					}
					return emit(e)
				})
			}
		}, []string{"watch/malformed record"}},
		"does not clear what was malformed": {onEvents(func() func(driver.Event) []driver.Event {
			spoilt := map[string]bool{}
			return func(e driver.Event) []driver.Event {
				spoilt[e.Record.ID] = spoilt[e.Record.ID] || e.Kind == driver.EventInvalid
				if spoilt[e.Record.ID] && e.Kind != driver.EventInvalid {
					return nil
				}
				return []driver.Event{e}
			}
		}), []string{"watch/malformed record"}},
		"names no place": {onEvents(func() func(driver.Event) []driver.Event {
			return func(e driver.Event) []driver.Event {
				if e.Kind == driver.EventInvalid {
					e.Record.ID = ""
				}
				return []driver.Event{e}
			}
		}), []string{"watch/malformed record"}},
		"serves one watch": {func(b *broken) {
			var one sync.Mutex
			b.watch = func(ctx context.Context, service string, emit func(driver.Event) error) error {
				if !one.TryLock() {
					<-ctx.Done()
					return nil
				}
				defer one.Unlock()
				return b.reconnecting(ctx, service, emit)
			}
		}, []string{"watch/two readers"}},
		"goes on after an error of its consumer": {func(b *broken) {
			b.watch = func(ctx context.Context, service string, emit func(driver.Event) error) error {
				return b.reconnecting(ctx, service, func(e driver.Event) error {
					_ = emit(e)
					return nil
				})
			}
		}, []string{"watch/error of the consumer"}},
		"shows nothing": {func(b *broken) {
			b.watch = func(ctx context.Context, _ string, _ func(driver.Event) error) error {
				<-ctx.Done()
				return nil
			}
		}, []string{"fleet/found by hand", "fleet/life of an instance"}},
	}
}

func brokenCalls() map[string]breakage {
	return map[string]breakage{
		"does not look at contexts": {onLease(func(l *brokenLease) {
			l.register = func(ctx context.Context, r driver.Record) error {
				return l.Lease.Register(context.WithoutCancel(ctx), r)
			}
		}), []string{"calls/cancelled"}},
		"ends its watches late": {func(b *broken) {
			b.watch = func(ctx context.Context, service string, emit func(driver.Event) error) error {
				defer time.Sleep(2 * time.Second)
				return b.reconnecting(ctx, service, emit)
			}
		}, []string{"calls/watches end with their context"}},
		"fails when its watch is ended": {onLease(func(l *brokenLease) {
			l.own = func(ctx context.Context, r driver.Record, changed func()) error {
				if err := l.Lease.Watch(ctx, r, changed); err != nil {
					return err
				}
				return ctx.Err()
			}
		}), []string{"calls/watches end with their context"}},
		"serves one call at a time": {onLease(func(l *brokenLease) {
			var one sync.Mutex
			l.register = func(ctx context.Context, r driver.Record) error {
				if !one.TryLock() {
					return driver.ErrUnavailable
				}
				defer one.Unlock()
				time.Sleep(time.Millisecond)
				return l.Lease.Register(ctx, r)
			}
		}), []string{"calls/at the same time"}},
		"cuts what is too large": {onRecord(func(r *driver.Record) {
			if len(r.Labels["large"]) > 0 {
				r.Labels = nil
			}
		}), []string{"calls/too large"}},
		"polls": {func(b *broken) {
			b.watch = func(ctx context.Context, service string, emit func(driver.Event) error) error {
				go func() {
					for ctx.Err() == nil {
						b.requests.Add(1)
						select {
						case <-time.After(100 * time.Millisecond):
						case <-ctx.Done():
						}
					}
				}()
				return b.reconnecting(ctx, service, emit)
			}
		}, []string{"idle/no requests"}},
	}
}

func brokenFaults() map[string]breakage {
	return map[string]breakage{
		"waits for an answer beyond its context": {onLease(func(l *brokenLease) {
			l.register = func(ctx context.Context, r driver.Record) error {
				if l.space.broken() {
					time.Sleep(3 * time.Second)
				}
				if err := l.request(r.Service); err != nil {
					return err
				}
				return l.Lease.Register(ctx, r)
			}
		}), []string{"faults/calls while the network is cut"}},
		"gives its errors no class": {onLease(func(l *brokenLease) {
			l.renew = func(ctx context.Context) error {
				if l.space.broken() {
					return errors.New("connection refused")
				}
				return l.Lease.Renew(ctx)
			}
		}), []string{"faults/calls while the network is cut"}},
		"ends its watch when the network is cut": {func(b *broken) {
			b.watch = b.connected
		}, []string{"faults/watch while the network is cut", "faults/history lost while cut off"}},
		"misses what happens while the network is cut": {func(b *broken) {
			b.watch = func(ctx context.Context, service string, emit func(driver.Event) error) error {
				return b.registry.Watch(ctx, service, func(e driver.Event) error {
					if b.space.broken() {
						return nil
					}
					return emit(e)
				})
			}
		}, []string{"faults/watch while the network is cut", "faults/history lost while cut off"}},
		"watches from now on after the network was cut": {onEvents(func() func(driver.Event) []driver.Event {
			lost, reading := false, false
			return func(e driver.Event) []driver.Event {
				lost = lost || e.Kind == driver.EventLost
				reading = lost && (reading || e.Kind == driver.EventResync) && e.Kind != driver.EventSynced
				if reading {
					return nil
				}
				return []driver.Event{e}
			}
		}), []string{"faults/watch while the network is cut", "faults/history lost while cut off"}},
		"keeps a lease that has ended": {onLease(func(l *brokenLease) {
			l.renew = func(ctx context.Context) error {
				if l.request("") == nil {
					_ = l.Lease.Renew(ctx)
				}
				return nil
			}
			l.register = func(ctx context.Context, r driver.Record) error {
				if err := l.request(r.Service); err != nil {
					return err
				}
				if err := l.Lease.Register(ctx, r); err != nil && !errors.Is(err, driver.ErrNotFound) {
					return err
				}
				return nil
			}
		}), []string{"faults/fleet while the network is cut"}},
	}
}
