package log

import (
	"cmp"
	"context"
	"hash/maphash"
	"log/slog"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/go-os/go-os/internal/option"
)

// Sampling thins out repeated messages. Of each message, per logger name and level, the first few of every tick pass, then
// every nth. Records of level Error and above always pass. Dropped records are counted, see Handler.Stats.
//
// Counts are kept in a table of fixed size. Two messages may share one of its 4096 slots, and then share a count.
type Sampling struct {
	// First is the number of equal messages that pass in each tick. Default: 100.
	First int
	// Thereafter is the n of "every nth passes" for the rest of the tick. DropRest means that none does. Default: 100.
	Thereafter int
	// Tick is the lifetime of a count. Default: one second.
	Tick time.Duration
	// KeepTraced passes every record that is written within a sampled span, so that a visible trace has all its log lines.
	KeepTraced bool
}

// DropRest is a value of Sampling.Thereafter: no more equal messages pass until the next tick.
const DropRest = -1

const samplerPlaces = 4096

type sampler struct {
	first, nth uint32 // nth 0: none
	tick       int64  // nanoseconds
	keepTraced bool

	seed   maphash.Seed
	places [samplerPlaces]atomic.Uint64 // the number of the tick, and the count in it: 32 bits each, so that both change at once
}

func newSampler(o *Sampling) *sampler {
	if o == nil {
		return nil
	}
	first, nth, tick := o.First, o.Thereafter, o.Tick
	option.Default("log.Sampling", "First", &first)
	option.Default("log.Sampling", "Tick", &tick)
	if nth != DropRest {
		option.Default("log.Sampling", "Thereafter", &nth)
	}
	return &sampler{
		first:      uint32(cmp.Or(first, 100)),
		nth:        uint32(max(cmp.Or(nth, 100), 0)), // DropRest becomes none
		tick:       int64(cmp.Or(tick, time.Second)),
		keepTraced: o.KeepTraced,
		seed:       maphash.MakeSeed(),
	}
}

// keep counts the record and reports whether it passes. logger is the hash of the logger's name.
func (s *sampler) keep(ctx context.Context, logger uint64, r slog.Record) bool {
	if r.Level >= slog.LevelError || s.keepTraced && trace.SpanContextFromContext(ctx).IsSampled() {
		return true
	}
	now := r.Time
	if now.IsZero() {
		now = time.Now()
	}
	n := count(s.place(logger, r.Level, r.Message), uint32(now.UnixNano()/s.tick))
	if n <= s.first {
		return true
	}
	return s.nth > 0 && (n-s.first)%s.nth == 0
}

func (s *sampler) place(logger uint64, level slog.Level, message string) *atomic.Uint64 {
	key := maphash.String(s.seed, message) ^ logger ^ uint64(level)*0x9e3779b97f4a7c15 // an odd number: levels spread
	return &s.places[key%samplerPlaces]
}

// count increments the count of this tick and returns it. It starts a new count if the slot holds another tick.
func count(place *atomic.Uint64, tick uint32) uint32 {
	for {
		old := place.Load()
		n := uint32(1)
		if uint32(old>>32) == tick {
			n = uint32(old) + 1
		}
		if place.CompareAndSwap(old, uint64(tick)<<32|uint64(n)) {
			return n
		}
	}
}
