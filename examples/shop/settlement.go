package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	gosync "sync"
	"sync/atomic"
	"time"

	"github.com/go-os/go-os/examples/internal/engine"
	"github.com/go-os/go-os/exporters"
	"github.com/go-os/go-os/state/sync"
	"github.com/go-os/go-os/telemetry"
)

// leaseTTL is the longest time without a leader after the leading payments service was killed.
const leaseTTL = 5 * time.Second

// settlement sends the charges of each night to the bank. A night must not be settled twice, so only the elected leader of the payments
// services settles.
type settlement struct {
	pipeline *exporters.Pipeline
	election *sync.Election
	night    time.Duration
	address  string // of this service, as the others may know it
	settled  atomic.Int64
}

// newSettlement returns an error if the guarantees of the engine's locks are too weak for a settlement.
func newSettlement(p *exporters.Pipeline, session *sync.Session, shared bool, night time.Duration, address string) (*settlement, error) {
	if shared {
		if err := session.Require(sync.SessionBound); err != nil {
			return nil, fmt.Errorf("settlement: %w", err)
		}
	}
	return &settlement{pipeline: p, election: session.Election("settlement"), night: night, address: address}, nil
}

// run settles while this service is the leader, until ctx ends.
func (s *settlement) run(ctx context.Context) {
	err := s.election.Do(ctx, []byte(s.address), func(ctx context.Context, g *sync.Grant) error {
		s.pipeline.Logger().InfoContext(ctx, "settling from now on", slog.Uint64("token", uint64(g.Token())))
		nights := time.NewTicker(s.night)
		defer nights.Stop()
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-nights.C:
			}
			if ctx.Err() != nil { // both may have fired while the process was stopped
				return ctx.Err()
			}
			n := s.settled.Add(1)
			s.pipeline.Logger().InfoContext(ctx, "night settled", slog.Int64("nights", n), slog.Uint64("token", uint64(g.Token())))
		}
	})
	if ctx.Err() == nil {
		s.pipeline.Logger().ErrorContext(ctx, "no settlement any more", slog.Any("error", err))
	}
}

// show responds with the address of the leader, and the number of nights that this service has settled.
func (s *settlement) show(w http.ResponseWriter, r *http.Request) {
	leader, err := s.election.Leader(r.Context())
	if err != nil && !errors.Is(err, sync.ErrNotHeld) {
		http.Error(w, "the election is out of order, please try again", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"leader": string(leader.Value), "settled_here": s.settled.Load()}) // the client may be gone
}

// locks are a session and the client behind it.
type locks struct {
	*sync.Session
	client func() error
}

// stopAfter stops the goroutines that use the session, then the session, then its client.
func (l *locks) stopAfter(cancel context.CancelFunc, running *gosync.WaitGroup) func(context.Context) error {
	return func(ctx context.Context) error {
		cancel()
		running.Wait()
		return errors.Join(l.Shutdown(ctx), l.client())
	}
}

// openLocks opens the session that a URL names.
func openLocks(ctx context.Context, where string, t telemetry.Providers) (*locks, error) {
	ctx, cancel := context.WithTimeout(ctx, engineWithin)
	defer cancel()
	d, client, err := engine.Locks(ctx, where, "-sync")
	if err != nil {
		return nil, usage(err)
	}
	l := &locks{sync.New(d, &sync.Options{TTL: leaseTTL, Telemetry: t}), client}
	if _, err := l.Election("settlement").Leader(ctx); err != nil && !errors.Is(err, sync.ErrNotHeld) {
		return nil, errors.Join(fmt.Errorf("-sync does not answer: is it running there? %w", err), l.Close(), l.client())
	}
	return l, nil
}
