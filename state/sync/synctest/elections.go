package synctest

import (
	"context"
	"errors"
	"time"

	"github.com/go-os/go-os/state/sync"
)

func elections() []promise {
	return []promise{
		{Name: "election/one leads", Check: oneLeads},
		{Name: "election/observed", Check: observes},
		{Name: "election/do", Check: leads},
		{Name: "election/do campaigns again", Together: true, Check: leadsAgain},
	}
}

func oneLeads(r *rig) {
	name := r.name("e")
	a, b := r.process().Election(name), r.process()
	_, err := a.Leader(r.context())
	r.is(err, sync.ErrNotHeld, "Leader of nobody")
	r.is(a.Resign(r.context()), sync.ErrNotHeld, "Resign of who does not lead")
	g, err := a.Campaign(r.context(), []byte("a"))
	if err != nil {
		r.Fatalf("Campaign: %v", err)
	}
	_, err = a.Campaign(r.context(), []byte("a"))
	r.is(err, sync.ErrHeld, "Campaign of who leads")
	r.led(b.Election(name), g.Token(), "a")

	eb := b.Election(name)
	next := r.wait(r.context(), b, func(ctx context.Context) (*sync.Grant, error) { return eb.Campaign(ctx, []byte("b")) })
	r.waits(next, "the second candidate")
	r.is(eb.Resign(r.context()), sync.ErrNotHeld, "Resign of who waits")
	r.is(a.Resign(r.context()), nil, "Resign")
	r.is(g.Context().Err(), context.Canceled, "the context of who has resigned")
	o := r.granted(next, "the second candidate")
	if o.grant.Token() <= g.Token() {
		r.Errorf("token %d came after %d", o.grant.Token(), g.Token())
	}
	r.led(a, o.grant.Token(), "b")
	r.is(eb.Resign(r.context()), nil, "Resign of the second")
	_, err = a.Leader(r.context())
	r.is(err, sync.ErrNotHeld, "Leader after all have resigned")
}

// led fails the test unless the engine reports this candidate as the leader.
func (r *rig) led(e *sync.Election, token sync.Token, value string) {
	r.Helper()
	leader, err := e.Leader(r.context())
	if err != nil || leader.Token != token || string(leader.Value) != value {
		r.Errorf("Leader: %q with token %d, %v; want %q with %d", leader.Value, leader.Token, err, value, token)
	}
}

func observes(r *rig) {
	name := r.name("e")
	a, b, c := r.process().Election(name), r.process().Election(name), r.process()
	ctx, cancel := context.WithCancel(r.context())
	defer cancel()
	seen, ended := make(chan sync.Leader, 100), make(chan struct{})
	go func() {
		defer close(ended)
		for leader, err := range c.Election(name).Observe(ctx) {
			if err != nil {
				r.Errorf("Observe: %v", err)
			}
			seen <- leader
		}
	}()
	next := func(value string) {
		r.Helper()
		select {
		case leader := <-seen:
			if string(leader.Value) != value || (leader.Token == 0) != (value == "") {
				r.Fatalf("observed %q with token %d, want %q", leader.Value, leader.Token, value)
			}
		case <-time.After(r.patience()):
			r.Fatalf("did not observe %q", value)
		}
	}
	next("")
	for range 3 {
		for value, e := range map[string]*sync.Election{"a": a, "b": b} {
			if _, err := e.Campaign(r.context(), []byte(value)); err != nil {
				r.Fatalf("Campaign: %v", err)
			}
			next(value)
			r.is(e.Resign(r.context()), nil, "Resign")
			next("")
		}
	}
	r.event("goos.sync.leader.changed")
	cancel()
	select {
	case <-ended:
	case <-time.After(time.Second):
		r.Error("Observe goes on a second after its context")
	}
}

func leads(r *rig) {
	name := r.name("e")
	p := r.process()
	e := p.Election(name)
	errBody := errors.New("of the body")
	err := e.Do(r.context(), []byte("a"), func(ctx context.Context, g *sync.Grant) error {
		r.led(p.Election(name), g.Token(), "a")
		return errBody
	})
	r.is(err, errBody, "Do")
	_, err = e.Leader(r.context())
	r.is(err, sync.ErrNotHeld, "Leader after Do")
	r.event("goos.sync.leader.elected")
	r.event("goos.sync.leader.resigned")
}

// leadsAgain revokes the leadership once.
func leadsAgain(r *rig) {
	p, other := r.process(), r.process()
	r.release(r.lock(other, r.name("m"))) // establishes its connection
	times := 0
	var first sync.Token
	err := p.Election(r.name("e")).Do(r.context(), nil, func(ctx context.Context, g *sync.Grant) error {
		if times++; times == 2 {
			if g.Token() <= first {
				r.Errorf("token %d came after %d", g.Token(), first)
			}
			return nil
		}
		first = g.Token()
		if err := other.Revoke(r.context(), p.lease()); err != nil {
			r.Errorf("Revoke: %v", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(r.patience()):
			r.Error("the context does not end with the lease")
		}
		r.is(context.Cause(ctx), sync.ErrLost, "the cause")
		return ctx.Err()
	})
	r.is(err, nil, "Do")
	if times != 2 {
		r.Errorf("led %d times, want 2", times)
	}
	r.event("goos.sync.lost")
}
