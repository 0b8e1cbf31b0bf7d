package consuldiscovery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/internal/backoff"
)

// follower repeatedly queries Consul for the entries of a service.
type follower struct {
	registry *Registry
	client   *api.Client
	service  string
	filter   string        // of Consul's; empty for all
	pace     time.Duration // between two answers, at least

	index    uint64 // to wait for a change of; zero to be answered at once
	last     uint64 // the index of the last answer
	behind   bool   // the server that was asked last is behind the others
	answered time.Time
}

// next returns the entries once they may have changed, or Options.Wait has passed. It reports whether Consul may have lost entries: its
// index is lower than before, for example after a restore.
func (f *follower) next(ctx context.Context) (found []*api.ServiceEntry, restored bool, err error) {
	if err := backoff.Sleep(ctx, backoff.Jitter(time.Until(f.answered.Add(f.pace)), 0.1)); err != nil {
		return nil, false, err
	}
	found, meta, err := f.ask(ctx, &api.QueryOptions{AllowStale: !f.behind, WaitIndex: f.index, WaitTime: f.registry.opts.Wait})
	if f.behind = err == nil && (meta.LastIndex < f.last || outOfTouch(meta)); f.behind {
		found, meta, err = f.ask(ctx, &api.QueryOptions{}) // the leader answers; the next query goes to it, too
	}
	f.answered = time.Now()
	if err != nil {
		f.index = 0
		return nil, false, err
	}
	restored = meta.LastIndex < f.last
	f.last = meta.LastIndex
	f.index = max(meta.LastIndex, 1) // zero would be answered at once, for ever
	return found, restored, nil
}

// outOfTouch reports whether the server that has answered has lost the leader. An agent with a subscription to a service (the streaming
// backend) does not report that.
func outOfTouch(meta *api.QueryMeta) bool {
	return meta.QueryBackend != api.QueryBackendStreaming && (!meta.KnownLeader || meta.LastContact > maxContact)
}

func (f *follower) ask(ctx context.Context, q *api.QueryOptions) ([]*api.ServiceEntry, *api.QueryMeta, error) {
	wait := q.WaitTime
	asked, cancel := context.WithTimeout(ctx, wait+wait/16+answerWithin)
	defer cancel()
	q.Filter = f.filter
	found, meta, err := f.registry.list(f.client, f.service, q.WithContext(asked))
	if err != nil && asked.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: a blocking query was not answered in time", driver.ErrUnavailable)
	}
	return found, meta, err
}

// The waits of a watch.
const (
	readPace    = 100 * time.Millisecond
	firstRetry  = 100 * time.Millisecond
	longestWait = 5 * time.Second
)

// Watch implements driver.Reader. It queries the preferred agent, then the others in turn if that one does not answer.
func (r *Registry) Watch(ctx context.Context, service string, emit func(driver.Event) error) error {
	w := &watch{follower: follower{registry: r, service: service, pace: readPace}, emit: emit}
	wait := backoff.Backoff{First: firstRetry, Longest: longestWait}
	for failures := 0; ; {
		w.client = r.clients[failures%len(r.clients)]
		found, restored, err := w.next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, driver.ErrUnavailable), errors.Is(err, driver.ErrDenied):
			failures++
			if err := w.lose(err); err != nil {
				return err
			}
			_ = wait.Wait(ctx) // the next query returns the error
			continue
		case err != nil:
			return err
		}
		wait.Reset()
		if err := w.show(view(found, r.opts.Protocol), restored); err != nil {
			return err
		}
	}
}

// watch is one watch in progress.
type watch struct {
	follower
	emit   func(driver.Event) error
	synced bool
	lost   bool
	known  map[string]seen // by ID
}

// seen is the registry's entry for an ID: a record, or the reason why it is missing.
type seen struct {
	record driver.Record
	err    error
}

// lose reports the first error of an outage.
func (w *watch) lose(err error) error {
	w.synced = false
	if w.lost {
		return nil
	}
	w.lost = true
	return w.emit(driver.Event{Kind: driver.EventLost, Err: err})
}

// show emits the differences from the known records, or everything after a loss.
func (w *watch) show(now map[string]seen, restored bool) error {
	before := w.known
	w.known, w.lost = now, false
	if w.synced && !restored {
		return w.compare(before, now)
	}
	w.synced = true
	if err := w.emit(driver.Event{Kind: driver.EventResync}); err != nil {
		return err
	}
	if err := w.compare(nil, now); err != nil {
		return err
	}
	return w.emit(driver.Event{Kind: driver.EventSynced})
}

func (w *watch) compare(before, now map[string]seen) error {
	for _, id := range slices.Sorted(maps.Keys(before)) {
		if _, there := now[id]; !there {
			if err := w.emit(w.event(driver.EventDelete, id)); err != nil {
				return err
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(now)) {
		next := now[id]
		if old, there := before[id]; there && same(old, next) {
			continue
		}
		event := w.event(driver.EventInvalid, id)
		event.Err = next.err
		if next.err == nil {
			event.Kind, event.Record = driver.EventPut, next.record
		}
		if err := w.emit(event); err != nil {
			return err
		}
	}
	return nil
}

func (w *watch) event(kind driver.EventKind, id string) driver.Event {
	return driver.Event{Kind: kind, Record: driver.Record{Instance: driver.Instance{Service: w.service, ID: id}}}
}

func same(a, b seen) bool {
	if a.err != nil || b.err != nil {
		return a.err != nil && b.err != nil && a.err.Error() == b.err.Error()
	}
	x, y := a.record, b.record
	if !maps.Equal(x.Addresses, y.Addresses) || !maps.Equal(x.Labels, y.Labels) {
		return false
	}
	return x.Version == y.Version && x.Zone == y.Zone && x.Weight == y.Weight && x.State == y.State &&
		x.Incarnation == y.Incarnation && x.Epoch == y.Epoch
}

// view returns the instances of entries. All entries of one ID form one instance. An entry that cannot be decoded represents its ID if no
// other entry does, otherwise its place.
func view(found []*api.ServiceEntry, protocol string) map[string]seen {
	best := map[string]entry{}
	var broken []entry
	for _, service := range found {
		e := read(service, protocol)
		switch old, there := best[e.record.ID]; {
		case e.err != nil:
			broken = append(broken, e)
		case !e.ended && (!there || better(e, old)):
			best[e.record.ID] = e
		}
	}
	all := make(map[string]seen, len(best))
	for id, e := range best {
		all[id] = seen{record: e.record}
	}
	for _, e := range broken {
		id := e.record.ID
		if _, there := all[id]; there {
			id = place(e.ServiceEntry)
		}
		all[id] = seen{err: e.err}
	}
	return all
}
