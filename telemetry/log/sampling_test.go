package log

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// counter is a sink that counts records by message.
func counter() (Sink, map[string]int) {
	got := map[string]int{}
	return handlerFunc(func(_ context.Context, r slog.Record) error { got[r.Message]++; return nil }), got
}

// apart creates handlers until the given messages have separate slots: hashes are seeded at random.
func apart(t *testing.T, build func() *Handler, keys ...func(*Handler) *atomic.Uint64) *Handler {
	t.Helper()
	for range 100 {
		h, used := build(), map[*atomic.Uint64]bool{}
		for _, key := range keys {
			used[key(h)] = true
		}
		if len(used) == len(keys) {
			return h
		}
	}
	t.Fatal("the hash does not spread")
	return nil
}

func at(name string, level slog.Level, message string) func(*Handler) *atomic.Uint64 {
	return func(h *Handler) *atomic.Uint64 { return h.sampler.place(h.levels.gate(name).hash, level, message) }
}

func TestSampling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		providers, dropped := meter(t)
		sink, got := counter()
		h := apart(t, func() *Handler {
			return NewHandler(&Options{Sampling: &Sampling{First: 5, Thereafter: 10}, Telemetry: providers}, sink)
		}, at("", slog.LevelInfo, "often"), at("", slog.LevelInfo, "rare"))
		l := slog.New(h)
		for range 100 {
			l.Info("often")
			l.Error("failed")
		}
		l.Info("rare")
		if got["often"] != 5+9 || got["failed"] != 100 || got["rare"] != 1 {
			t.Errorf("in the first tick: %v", got)
		}
		if n := h.Stats().Sampled; n != 86 || dropped()[" sampled"] != 86 {
			t.Errorf("dropped %d, metric %v, want 86", n, dropped())
		}
		time.Sleep(time.Second)
		for range 5 {
			l.With("a", 1).Info("often")
		}
		if got["often"] != 14+5 {
			t.Errorf("in the second tick: %v", got)
		}
	})
}

func TestSamplingCountsNamesAndLevelsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink, got := counter()
		l := slog.New(apart(t, func() *Handler {
			return NewHandler(&Options{Sampling: &Sampling{First: 1, Thereafter: DropRest, Tick: time.Hour}}, sink)
		}, at("", slog.LevelInfo, "x"), at("", slog.LevelWarn, "x"), at("a", slog.LevelInfo, "x"), at("b", slog.LevelInfo, "x")))
		for range 10 {
			l.Info("x")
			l.Warn("x")
			Named(l, "a").Info("x")
			Named(l, "b").Info("x")
		}
		if got["x"] != 4 {
			t.Errorf("%d records passed, want one for each name and level", got["x"])
		}
	})
}

func TestSamplingKeepsTraced(t *testing.T) {
	for keep, want := range map[bool]int{true: 10 + 1, false: 1} {
		sink, got := counter()
		l := New(&Options{Sampling: &Sampling{First: 1, Thereafter: DropRest, Tick: 100000 * time.Hour, KeepTraced: keep}}, sink)
		for range 10 {
			l.InfoContext(spanContext(t, trace.FlagsSampled), "x")
			l.InfoContext(spanContext(t, 0), "x")
		}
		if got["x"] != want {
			t.Errorf("KeepTraced %v: %d records passed, want %d", keep, got["x"], want)
		}
	}
}

func TestSamplingIsExactUnderConcurrency(t *testing.T) {
	s := newSampler(&Sampling{First: 10, Thereafter: 7, Tick: time.Hour})
	r := slog.NewRecord(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), slog.LevelInfo, "x", 0)
	const writers, each = 8, 20000
	var kept [writers]int
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for range each {
				if s.keep(t.Context(), 0, r) {
					kept[i]++
				}
			}
		})
	}
	wg.Wait()
	sum := 0
	for _, n := range kept {
		sum += n
	}
	if want := 10 + (writers*each-10)/7; sum != want {
		t.Errorf("%d records passed, want %d", sum, want)
	}
	if n := uint32(s.place(0, r.Level, r.Message).Load()); n != writers*each {
		t.Errorf("%d records were counted, want %d", n, writers*each)
	}
}
