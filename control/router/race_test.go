package router_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/control/router"
)

// TestLatePick ends a pick that a lost attempt makes, so that nothing stays in flight.
func TestLatePick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service(t, hedged, 3)
		value, _ := router.Do(t.Context(), s, router.Request{Idempotent: true, Hedgeable: true},
			func(ctx context.Context, a *router.Attempt) (int, router.Outcome) {
				if _, err := a.Pick(ctx); err != nil {
					t.Error(err)
				}
				if a.Number() == 1 {
					time.Sleep(5 * time.Second) // the hedge wins meanwhile
					if _, err := a.Pick(ctx); !errors.Is(err, router.ErrClosed) {
						t.Errorf("pick of the attempt that has lost: %v, want ErrClosed", err)
					}
				}
				return a.Number(), router.Outcome{}
			}, nil)
		if value != 2 {
			t.Errorf("got %d, want the hedge", value)
		}
		time.Sleep(10 * time.Second)
		idle(t, s)
	})
}

// TestPickAgain prefers another endpoint for an attempt that could not use its own, and returns to it if there is no other.
func TestPickAgain(t *testing.T) {
	s := service(t, router.Policy{}, 2)
	if err := s.Ready(context.Background()); err != nil {
		t.Fatal(err)
	}
	all, _ := s.Endpoints()
	router.Do(context.Background(), s, router.Request{}, func(ctx context.Context, a *router.Attempt) (int, router.Outcome) {
		first, err := a.Pick(ctx)
		second, again := a.Pick(ctx)
		if err != nil || again != nil || first.Endpoint() == second.Endpoint() {
			t.Errorf("picks %v and %v: want both endpoints", err, again)
		}
		one := s.Among(all[:1])
		third, err := a.PickAmong(one)
		fourth, again := a.PickAmong(one)
		if err != nil || again != nil || third.Endpoint() != all[0] || fourth.Endpoint() != all[0] {
			t.Errorf("picks of the only one: %v, %v", err, again)
		}
		return 0, router.Outcome{}
	}, nil)
	idle(t, s)
}
