package consuldiscovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
	"golang.org/x/sync/errgroup"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/internal/backoff"
)

// lease implements driver.Lease. All its services belong to one agent.
type lease struct {
	registry *Registry
	client   *api.Client
	ttl      time.Duration

	mu       sync.Mutex
	until    time.Time           // when it ends unless it is renewed; zero once it was revoked
	services map[string]struct{} // that are renewed, by ID
}

// errEnded is the end of a lease.
var errEnded = fmt.Errorf("%w: the lease has ended", driver.ErrNotFound)

// alive returns an error if the lease has ended.
func (l *lease) alive() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Until(l.until) <= 0 {
		return errEnded
	}
	return nil
}

// Renew implements driver.Lease. It sends one request a service to the agent.
func (l *lease) Renew(ctx context.Context) error {
	if err := l.alive(); err != nil {
		return err
	}
	sent := time.Now()
	err := l.renew(ctx)
	switch {
	case err == nil:
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.until.IsZero() { // revoked meanwhile
			return errEnded
		}
		l.until = sent.Add(l.ttl)
	case errors.Is(err, driver.ErrUnavailable) && l.movable(ctx):
		return fmt.Errorf("%w: the agent does not answer and another one does: %w", errEnded, err)
	}
	return err
}

func (l *lease) renew(ctx context.Context) error {
	ids := l.ids()
	if len(ids) == 0 {
		return ping(ctx, l.client)
	}
	var work errgroup.Group
	work.SetLimit(renewals)
	for _, id := range ids {
		work.Go(func() error {
			err := l.pass(ctx, id)
			if unknown(err) { // the watch notices it too, and triggers another registration
				l.forget(id)
				return nil
			}
			return classify(ctx, err)
		})
	}
	if err := work.Wait(); err != nil {
		return err
	}
	if len(l.ids()) == 0 {
		return fmt.Errorf("%w: the agent has none of its services", errEnded)
	}
	return nil
}

// renewals is how many requests of a renewal are under way at a time.
const renewals = 8

// pass renews the check of a service. Neither status nor output changes, so the agent sends nothing to the servers.
func (l *lease) pass(ctx context.Context, id string) error {
	return l.client.Agent().UpdateTTLOpts(leaseCheck(id), "", api.HealthPassing, (&api.QueryOptions{}).WithContext(ctx))
}

// unknown reports whether an agent has no such check or service.
func unknown(err error) bool {
	return refused(err, "unknown check") || refused(err, "unknown service") || refused(err, "does not have associated ttl")
}

// movable reports whether another agent can take the lease.
func (l *lease) movable(ctx context.Context) bool {
	return slices.ContainsFunc(l.registry.clients, func(c *api.Client) bool { return c != l.client && l.registry.usable(ctx, c) == nil })
}

// Revoke implements driver.Lease.
func (l *lease) Revoke(ctx context.Context) error {
	l.mu.Lock()
	l.until = time.Time{}
	l.mu.Unlock()
	var failed error
	for _, id := range l.ids() {
		failed = cmp.Or(failed, l.remove(ctx, id))
	}
	return failed
}

// Epoch implements driver.Lease.
func (l *lease) Epoch(ctx context.Context, service, id string, least uint64) (uint64, error) {
	all, err := l.entries(ctx, service, id)
	for _, e := range all {
		least = max(least, e.record.Epoch+1)
	}
	return least, err
}

// entries returns the entries of an ID, as the leader of the cluster has them. Those that cannot be decoded have no record.
func (l *lease) entries(ctx context.Context, service, id string) (all []entry, err error) {
	q := (&api.QueryOptions{RequireConsistent: true, Filter: instance(id)}).WithContext(ctx)
	found, _, err := l.registry.list(l.client, service, q)
	for _, found := range found {
		e := read(found, "")
		if e.err != nil { // it is replaced, regardless of its content
			e.record = driver.Record{}
		}
		// After a lease has moved from one agent to another, both may have the same service.
		at := slices.IndexFunc(all, func(a entry) bool { return a.Service.ID == e.Service.ID && !a.left })
		if at >= 0 && fresher(e, all[at]) {
			all[at], e = e, all[at]
		}
		e.left = at >= 0
		e.ended = e.ended || e.left
		all = append(all, e)
	}
	return all, err
}

// fresher reports whether a is in use rather than b, which has the same ID at another agent.
func fresher(a, b entry) bool {
	if a.ended != b.ended {
		return b.ended
	}
	return a.revision > b.revision
}

// Register implements driver.Lease. The agent confirms registrations before the servers have them, so Register repeats it until the servers
// have the record, or ctx ends.
func (l *lease) Register(ctx context.Context, r driver.Record) error {
	wanted, err := services(r)
	if err != nil {
		return err
	}
	wait := backoff.Backoff{First: 20 * time.Millisecond, Longest: time.Second}
	for first := true; ; first = false {
		if err := l.alive(); err != nil {
			return err
		}
		all, err := l.entries(ctx, r.Service, r.ID)
		if err != nil {
			return err
		}
		own, others := divide(all, r.Incarnation)
		if later := successor(others, r); later != nil {
			_ = l.withdraw(ctx, r, own) // without an answer, its check ends it
			return fmt.Errorf("%w: %s/%s is registered by a process that started later (incarnation %s)",
				driver.ErrConflict, r.Service, r.ID, later.record.Incarnation)
		}
		if l.confirmed(own, wanted, r.State) {
			l.registry.settle(l.client, own[0].Node.Node)
			l.clean(ctx, others)
			return nil
		}
		if !first && wait.Wait(ctx) != nil {
			return fmt.Errorf("%w: the agent has not brought the record to the servers: %w", driver.ErrUnavailable, ctx.Err())
		}
		if err := l.registry.member(ctx, l.client); err != nil {
			_ = l.withdraw(ctx, r, own) // or the agent itself would bring them back
			if l.movable(ctx) {
				return fmt.Errorf("%w: %w", errEnded, err)
			}
			return err
		}
		if err := l.write(ctx, r, wanted, own); err != nil {
			return err
		}
	}
}

// divide returns the entries of an incarnation that are in use, and the others.
func divide(all []entry, incarnation string) (own, others []entry) {
	for _, e := range all {
		if e.record.Incarnation == incarnation && !e.left {
			own = append(own, e)
		} else {
			others = append(others, e)
		}
	}
	return own, others
}

// successor returns the entry of a live process that has started later.
func successor(others []entry, r driver.Record) *entry {
	for _, e := range others {
		if e.lives() && e.record.Epoch >= r.Epoch {
			return &e
		}
	}
	return nil
}

// confirmed reports whether the catalog has exactly the wanted entries of this incarnation, under this lease.
func (l *lease) confirmed(own []entry, wanted []*api.AgentServiceRegistration, s driver.State) bool {
	if len(own) != len(wanted) {
		return false
	}
	for _, w := range wanted {
		at := slices.IndexFunc(own, func(e entry) bool { return e.Service.ID == w.ID })
		if at < 0 || !l.has(w.ID) || !matches(own[at], w, s) {
			return false
		}
	}
	return true
}

// matches reports whether an entry is as registered.
func matches(e entry, w *api.AgentServiceRegistration, s driver.State) bool {
	meta := maps.Clone(e.Service.Meta)
	delete(meta, metaRevision)
	want := maps.Clone(w.Meta)
	delete(want, metaRevision)
	weights := api.AgentWeights{Passing: e.Service.Weights.Passing, Warning: e.Service.Weights.Warning}
	return !e.ended && maps.Equal(meta, want) && slices.Equal(e.Service.Tags, w.Tags) && weights == *w.Weights &&
		e.Service.Address == w.Address && e.Service.Port == w.Port && len(outdated(e, s)) == 0 &&
		(s == driver.Up || slices.ContainsFunc(e.Checks, func(c *api.HealthCheck) bool { return c.CheckID == stateCheck(w.ID, s) }))
}

// outdated returns the checks of an entry that belong to other states.
func outdated(e entry, s driver.State) (ids []string) {
	for _, c := range e.Checks {
		if strings.HasPrefix(c.CheckID, e.Service.ID+"~") && c.CheckID != leaseCheck(e.Service.ID) && c.CheckID != stateCheck(e.Service.ID, s) {
			ids = append(ids, c.CheckID)
		}
	}
	return ids
}

// write registers services with the agent, and removes the incarnation's other services.
func (l *lease) write(ctx context.Context, r driver.Record, wanted []*api.AgentServiceRegistration, own []entry) error {
	for _, w := range wanted {
		if err := l.put(ctx, w, r.State, l.ttl, l.registry.opts.Reap); err != nil {
			return err
		}
		l.add(w.ID)
	}
	return l.tidy(ctx, r, wanted, own)
}

// tidy removes the services and checks of an incarnation that are not wanted.
func (l *lease) tidy(ctx context.Context, r driver.Record, wanted []*api.AgentServiceRegistration, own []entry) error {
	for _, id := range l.idsOf(r, own) {
		if slices.ContainsFunc(wanted, func(w *api.AgentServiceRegistration) bool { return w.ID == id }) {
			continue
		}
		if err := l.remove(ctx, id); err != nil {
			return err
		}
	}
	for _, e := range own {
		for _, check := range outdated(e, r.State) {
			if err := l.dropCheck(ctx, check); err != nil {
				return err
			}
		}
	}
	return nil
}

// checks returns the checks of a service: one that expires after ttl unless renewed, and one for a state in which clients must not use the
// service. Reap is how long the service stays in Consul after its end.
func checks(id string, s driver.State, revision string, ttl, reap time.Duration) api.AgentServiceChecks {
	all := api.AgentServiceChecks{{
		CheckID: leaseCheck(id), Name: "Go OS: lease", Notes: "Critical when nobody has renewed it within its TTL. Write " + revision + ".",
		TTL: ttl.String(), Status: api.HealthPassing, DeregisterCriticalServiceAfter: reap.String(),
	}}
	if s == driver.Up {
		return all
	}
	return append(all, &api.AgentServiceCheck{
		CheckID: stateCheck(id, s), Name: "Go OS: " + s.String(), Notes: "Critical while the instance is " + s.String() + ". Write " + revision + ".",
		TTL: forever.String(), Status: api.HealthCritical,
	})
}

// put registers a service with the agent. It numbers the write: an agent sends the servers only differences from its own state, although
// the servers may have lost that state.
func (l *lease) put(ctx context.Context, w *api.AgentServiceRegistration, s driver.State, ttl, reap time.Duration) error {
	revision := fmt.Sprint(l.registry.revision.Add(1))
	w.Meta[metaRevision] = revision
	w.Checks = checks(w.ID, s, revision, ttl, reap)
	err := l.client.Agent().ServiceRegisterOpts(w, api.ServiceRegisterOpts{}.WithContext(ctx))
	if err == nil {
		err = l.pass(ctx, w.ID) // the agent keeps the status of a check that it had
	}
	if unknown(err) { // a successor has removed the service
		return nil
	}
	return classify(ctx, err)
}

func (l *lease) dropCheck(ctx context.Context, id string) error {
	err := l.client.Agent().CheckDeregisterOpts(id, (&api.QueryOptions{}).WithContext(ctx))
	if unknown(err) {
		return nil
	}
	return classify(ctx, err)
}

// remove removes a service of this lease from the agent.
func (l *lease) remove(ctx context.Context, id string) error {
	l.forget(id)
	err := l.client.Agent().ServiceDeregisterOpts(id, (&api.QueryOptions{}).WithContext(ctx))
	if unknown(err) {
		return nil
	}
	return classify(ctx, err)
}

// withdraw removes the services of a record.
func (l *lease) withdraw(ctx context.Context, r driver.Record, own []entry) (err error) {
	for _, id := range l.idsOf(r, own) {
		err = cmp.Or(err, l.remove(ctx, id))
	}
	return err
}

// idsOf returns the services of a record, in the catalog or under this lease.
func (l *lease) idsOf(r driver.Record, own []entry) (ids []string) {
	for _, e := range own {
		ids = append(ids, e.Service.ID)
	}
	for _, id := range l.ids() {
		if strings.HasPrefix(id, prefix(r)) && strings.HasSuffix(id, suffix(r)) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// clean removes the entries of earlier incarnations. It is not part of the registration: entries that it cannot remove expire. A live agent
// restores entries that were removed only from the catalog.
func (l *lease) clean(ctx context.Context, others []entry) {
	for _, e := range others {
		lost := agentLost(e.Checks)
		if e.left && !lost {
			continue // it has the ID of a service of ours
		}
		if lost || unknown(l.client.Agent().ServiceDeregisterOpts(e.Service.ID, (&api.QueryOptions{}).WithContext(ctx))) {
			_, _ = l.client.Catalog().Deregister(&api.CatalogDeregistration{Node: e.Node.Node, ServiceID: e.Service.ID}, (&api.WriteOptions{}).WithContext(ctx))
		}
	}
}

// Deregister implements driver.Lease. One of the services becomes the goodbye, which ends after its own TTL, and the others are removed.
func (l *lease) Deregister(ctx context.Context, r driver.Record, keep time.Duration) error {
	r.State = driver.Gone
	wanted, err := services(r)
	if err != nil {
		return err
	}
	all, err := l.entries(ctx, r.Service, r.ID)
	if err != nil {
		return err
	}
	own, others := divide(all, r.Incarnation)
	switch {
	case slices.ContainsFunc(own, func(e entry) bool { return e.record.State == driver.Gone || e.record.Epoch > r.Epoch }):
		return nil // gone, or registered again by this process
	case len(own) == 0, slices.ContainsFunc(others, entry.lives):
		return l.withdraw(ctx, r, own) // no goodbye is needed
	}
	goodbye := wanted[0]
	l.forget(goodbye.ID)
	if err := l.put(ctx, goodbye, driver.Gone, keep, minReap); err != nil {
		return err
	}
	return l.tidy(ctx, r, wanted[:1], own)
}

// Watch implements driver.Lease. It follows the entries of the ID, including those of other incarnations.
func (l *lease) Watch(ctx context.Context, r driver.Record, changed func()) error {
	f := &follower{registry: l.registry, client: l.client, service: r.Service, filter: instance(r.ID), pace: min(l.ttl/10, time.Second)}
	var before []string
	for first := true; ; first = false {
		found, _, err := f.next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		now := versions(found)
		// Two removals in a row, with a registration between them, look alike.
		if first || !slices.Equal(now, before) || !l.complete(r, found) {
			changed()
		}
		before = now
	}
}

// complete reports whether all services of a record that the lease renews are among the entries.
func (l *lease) complete(r driver.Record, found []*api.ServiceEntry) bool {
	ids := l.idsOf(r, nil)
	for _, id := range ids {
		if !slices.ContainsFunc(found, func(e *api.ServiceEntry) bool { return e.Service.ID == id }) {
			return false
		}
	}
	return len(ids) > 0
}

// versions returns a value that changes with each write to one of the entries.
func versions(all []*api.ServiceEntry) (out []string) {
	for _, e := range all {
		out = append(out, fmt.Sprint(place(e), e.Service.CreateIndex, e.Service.ModifyIndex))
		for _, c := range e.Checks {
			out = append(out, fmt.Sprint(place(e), c.CheckID, c.CreateIndex, c.ModifyIndex))
		}
	}
	slices.Sort(out)
	return out
}

// ids returns the services of the lease, sorted.
func (l *lease) ids() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.services))
}

func (l *lease) has(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.services[id]
	return ok
}

func (l *lease) forget(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.services, id)
}

func (l *lease) add(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.services[id] = struct{}{}
}
