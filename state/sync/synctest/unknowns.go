package synctest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-os/go-os/state/sync"
)

func unknowns() []promise {
	return []promise{
		{Name: "unknown/an answer that is lost leaves no claim", Together: true, Check: func(r *rig) { lostAnswer(r, 0) }},
		{Name: "unknown/a request that comes late leaves no claim", Together: true, Check: func(r *rig) { lostAnswer(r, r.ttl/4) }},
		{Name: "unknown/a release that comes late frees nothing else", Together: true, Check: lateRelease},
		{Name: "unknown/a claim that comes late to a lease that lives is gone", Together: true, Check: lateClaim},
	}
}

// lostAnswer loses the answer to an acquisition, which may take effect at once or later. Its claim may delay other processes for at most
// a TTL.
func lostAnswer(r *rig, late time.Duration) {
	name := r.name("m")
	a, b := r.process(), r.process()
	a.mu.Lock()
	a.lose, a.late = 1, late
	a.mu.Unlock()
	_, err := a.Mutex(name).Lock(r.context())
	r.is(err, sync.ErrUnavailable, "Lock whose answer is lost")
	r.pass(2 * late)
	asked := time.Now()
	g, err := b.Mutex(name).Lock(r.context())
	if err != nil {
		r.Fatalf("Lock: %v", err)
	}
	if took, bound := time.Since(asked), r.latest()+time.Second; took > bound {
		r.Errorf("granted after %s, want %s at most", took, bound)
	}
	r.release(g)
	again := r.lock(a, name)
	r.release(again)
	for i := range 3 { // no claim is left
		g, err := b.Mutex(name).TryLock(r.context())
		r.is(err, nil, "TryLock %d", i)
		if err == nil {
			r.release(g)
		}
	}
}

// lateRelease lets a release take effect after the lock has been acquired again.
func lateRelease(r *rig) {
	name := r.name("m")
	a, b := r.process(), r.process()
	held := r.lock(a, name)
	late := r.ttl / 4
	a.mu.Lock()
	a.forget, a.late = 1, late
	a.mu.Unlock()
	r.is(held.Release(r.context()), sync.ErrUnavailable, "Release whose answer is lost")
	r.pass(late / 4) // so that the session's retry has released it
	again := r.lock(a, name)
	r.pass(2 * late)
	_, err := b.Mutex(name).TryLock(r.context())
	r.is(err, sync.ErrHeld, "TryLock of what is held")
	r.release(again)
}

// contended is a lock, an election or a semaphore, by its kind.
type contended struct {
	kind    string
	acquire func(ctx context.Context, p process, name string) (*sync.Grant, error)
	try     func(ctx context.Context, p process, name string) (*sync.Grant, error)
}

func kinds() []contended {
	campaign := func(ctx context.Context, p process, name string) (*sync.Grant, error) {
		return p.Election(name).Campaign(ctx, []byte("v"))
	}
	return []contended{
		{
			"mutex",
			func(ctx context.Context, p process, name string) (*sync.Grant, error) { return p.Mutex(name).Lock(ctx) },
			func(ctx context.Context, p process, name string) (*sync.Grant, error) {
				return p.Mutex(name).TryLock(ctx)
			},
		},
		{"election", campaign, func(ctx context.Context, p process, name string) (*sync.Grant, error) {
			if leader, err := p.Election(name).Leader(ctx); !errors.Is(err, sync.ErrNotHeld) {
				return nil, fmt.Errorf("the leader is %q, who does not know it (%w)", leader.Value, err)
			}
			short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
			defer cancel()
			return campaign(short, p, name)
		}},
		{
			"semaphore",
			func(ctx context.Context, p process, name string) (*sync.Grant, error) {
				return p.Semaphore(name, 1).Acquire(ctx)
			},
			func(ctx context.Context, p process, name string) (*sync.Grant, error) {
				return p.Semaphore(name, 1).TryAcquire(ctx)
			},
		},
	}
}

// lateClaim delivers acquisitions after the session has given them up, while another grant keeps their lease alive. It does so with and
// without the answer to the first withdrawal.
func lateClaim(r *rig) {
	a, b := r.process(), r.process()
	for _, lost := range []int{0, 1} {
		for _, k := range kinds() {
			name := r.name(fmt.Sprint(k.kind, lost))
			job := r.lock(a, name+" job") // one for each attempt: a session makes no new claims on a lease that has a claim of unknown fate
			a.mu.Lock()
			a.lose, a.late, a.forget = 1, r.ttl/4, lost
			a.mu.Unlock()
			_, err := k.acquire(r.context(), a, name)
			r.is(err, sync.ErrUnavailable, "an acquisition of a %s that comes late", k.kind)
			r.pass(r.ttl / 2)
			r.is(job.Lost(), nil, "Lost of the grant that keeps the lease alive")
			if g, err := k.try(r.context(), b, name); err != nil {
				r.Errorf("a %s that nobody holds, after a claim came late: %v", k.kind, err)
			} else {
				r.release(g)
			}
			r.release(job)
		}
	}
}
