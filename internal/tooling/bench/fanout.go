package bench

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

// FanOut is many watchers of one store. Each watcher sees every update.
type FanOut struct {
	// Watchers and Updates are their numbers.
	Watchers, Updates int
	// Pace is the time between two updates. Zero writes as fast as possible.
	Pace time.Duration
}

// FanOuts are the measured fan-outs.
var FanOuts = []FanOut{
	{Watchers: 1000, Updates: 10_000, Pace: 5 * time.Millisecond},
	{Watchers: 1000, Updates: 10_000},
}

// Name returns the name of the row.
func (f FanOut) Name() string {
	if f.Pace == 0 {
		return "as fast as one writer can"
	}
	return fmt.Sprintf("one every %s", f.Pace)
}

// Spread is the result of a FanOut.
type Spread struct {
	// Seen is how many events were seen in all. The maximum is Watchers times Updates.
	Seen int
	// P50 and P99 are the times from the start of a write until an event is seen.
	P50, P99 time.Duration
	// PerWatcher is the heap and stack of a watch, in bytes.
	PerWatcher int64
	// Rate is the number of events seen in a second.
	Rate float64
}

// Measure runs the fan-out.
func (f FanOut) Measure() (Spread, error) {
	s := kv.New(memkv.New(&memkv.Options{History: f.Updates}), &kv.Options{Telemetry: telemetry.Off()})
	defer s.Close()
	sent := make([]time.Duration, f.Updates) // when each write began
	seen := make([][]time.Duration, f.Watchers)
	for w := range seen {
		seen[w] = make([]time.Duration, 0, f.Updates)
	}
	before := held()
	began := time.Now()
	var ready, done sync.WaitGroup
	for w := range seen {
		ready.Add(1)
		done.Go(func() { seen[w] = follow(s, began, seen[w], ready.Done) })
	}
	ready.Wait()
	spread := Spread{PerWatcher: (held() - before) / int64(f.Watchers)}
	start := time.Now()
	if err := f.write(s, began, sent); err != nil {
		return spread, err
	}
	done.Wait()
	took := time.Since(start)
	var delays []time.Duration
	for _, times := range seen {
		for i, at := range times {
			delays = append(delays, at-sent[i])
		}
	}
	slices.Sort(delays)
	if spread.Seen = len(delays); spread.Seen > 0 {
		spread.P50, spread.P99 = delays[len(delays)/2], delays[len(delays)*99/100]
	}
	spread.Rate = float64(spread.Seen) / took.Seconds()
	return spread, nil
}

func (f FanOut) write(s *kv.Store, began time.Time, sent []time.Duration) error {
	for i := range sent {
		if f.Pace > 0 {
			time.Sleep(f.Pace)
		}
		sent[i] = time.Since(began)
		if _, err := s.Put(context.Background(), "k", nil); err != nil {
			return err
		}
	}
	return nil
}

// follow returns when each update was seen. It ends early if the watch reports a resync, which loses some updates.
func follow(s *kv.Store, began time.Time, seen []time.Duration, ready func()) []time.Duration {
	for ev, err := range s.Watch(context.Background(), "k") {
		switch {
		case err != nil || ev.Kind == kv.EventResync:
			return seen
		case ev.Kind == kv.EventSynced:
			ready()
		case ev.Kind == kv.EventPut:
			if seen = append(seen, time.Since(began)); len(seen) == cap(seen) {
				return seen
			}
		}
	}
	return seen
}

// held returns the size of heap and stacks.
func held() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
