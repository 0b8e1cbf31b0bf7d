package exporters

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// sink is an exporter of ints.
type sink struct {
	mu     sync.Mutex
	got    []int
	sizes  []int
	fail   func(call int) error
	calls  int
	block  chan struct{} // exports wait for it, if set
	closed bool
}

func (s *sink) export(ctx context.Context, items []int) error {
	s.mu.Lock()
	s.calls++
	call, block, fail := s.calls, s.block, s.fail
	s.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if fail != nil {
		if err := fail(call); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, items...)
	s.sizes = append(s.sizes, len(items))
	return nil
}

// size of an int is its value, and at least one byte.
func (s *sink) size(i int) int64 { return max(1, int64(i)) }

func (s *sink) shutdown(context.Context) error {
	s.closed = true
	return nil
}

func (s *sink) items() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

func newTestBatcher(s *sink, cfg batchConfig) (*batcher[int], *atomic.Int64) {
	alarms := new(atomic.Int64)
	l := newLedger(Traces, component{"p", "p/0"}, component{"e", "e/0"}, cfg.queue, func() { alarms.Add(1) })
	return newBatcher(l, cfg, s.size, s.export, s.shutdown), alarms
}

func health(l *ledger) (h SignalHealth) {
	h.add(l.read())
	return h
}

func numbers(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

func TestBatcherExportsFullBatchesAtOnceAndTheRestAfterTheDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		b, _ := newTestBatcher(s, batchConfig{queue: 100, batch: 10, delay: time.Minute, timeout: time.Minute})
		for _, i := range numbers(25) {
			b.add(i)
		}
		synctest.Wait()
		if got := s.items(); !slices.Equal(got, numbers(20)) {
			t.Errorf("before the delay %v were exported, want the first 20", got)
		}
		if h := health(b.ledger); h.Queued != 5 {
			t.Errorf("queued %d, want 5", h.Queued)
		}
		<-time.After(time.Minute)
		synctest.Wait()
		if got := s.items(); !slices.Equal(got, numbers(25)) {
			t.Errorf("after the delay %v were exported, want 25 in order", got)
		}
		if !slices.Equal(s.sizes, []int{10, 10, 5}) {
			t.Errorf("batches of %v, want 10, 10, 5", s.sizes)
		}
		if err := b.shutdown(t.Context()); err != nil || !s.closed {
			t.Errorf("shutdown: %v; exporter closed: %t", err, s.closed)
		}
	})
}

func TestBatcherDropsTheNewestWhenItsQueueIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{block: make(chan struct{})}
		b, alarms := newTestBatcher(s, batchConfig{queue: 20, batch: 10, delay: time.Minute, timeout: time.Minute})
		for _, i := range numbers(10) {
			b.add(i)
		}
		synctest.Wait() // the exporter, which blocks, has these ten
		for i := 10; i < 50; i++ {
			b.add(i)
		}
		h := health(b.ledger)
		if h.Emitted != 50 || h.Queued != 30 || h.Dropped != 20 || h.Exported != 0 {
			t.Errorf("%+v, want 50 emitted, 30 queued, 20 dropped", h)
		}
		if n := b.ledger.read().refused[lossQueueFull]; n != 20 || alarms.Load() != 20 {
			t.Errorf("%d dropped for the full queue and %d alarms, want 20 of each", n, alarms.Load())
		}
		close(s.block)
		if err := b.forceFlush(t.Context()); err != nil {
			t.Error(err)
		}
		if got := s.items(); !slices.Equal(got, numbers(30)) {
			t.Errorf("exported %v, want the first 30 in order", got)
		}
		b.add(50)
		if err := b.shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if h := health(b.ledger); h.Exported != 31 || h.Dropped != 20 || h.Queued != 0 || h.Emitted != 51 {
			t.Errorf("after shutdown %+v", h)
		}
	})
}

func TestBatcherRetriesWhileThereIsHope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{fail: func(call int) error {
			if call < 4 {
				return io.ErrUnexpectedEOF
			}
			return nil
		}}
		b, _ := newTestBatcher(s, batchConfig{queue: 20, batch: 10, delay: time.Second, timeout: time.Minute})
		b.add(1)
		<-time.After(10 * time.Second)
		h := health(b.ledger)
		if h.Exported != 1 || h.FailuresInARow != 0 || !errors.Is(h.LastError, io.ErrUnexpectedEOF) || s.calls != 4 {
			t.Errorf("%+v after %d calls, want one exported at the 4th", h, s.calls)
		}
		_ = b.shutdown(t.Context())
	})
}

func TestBatcherGivesABatchUpAfterItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{fail: func(int) error { return io.EOF }}
		b, _ := newTestBatcher(s, batchConfig{queue: 20, batch: 10, delay: time.Second, timeout: 30 * time.Second})
		start := time.Now()
		b.add(1)
		err := b.forceFlush(t.Context())
		if err == nil || !errors.Is(err, io.EOF) {
			t.Errorf("flush says %v, want the loss and its reason", err)
		}
		if took := time.Since(start); took < 20*time.Second || took > 30*time.Second {
			t.Errorf("given up after %v, want just under 30 s", took)
		}
		if h := health(b.ledger); h.Dropped != 1 || h.Queued != 0 {
			t.Errorf("%+v, want 1 dropped", h)
		}
		_ = b.shutdown(t.Context())
	})
}

func TestBatcherDoesNotRetryWhatFailsForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{fail: func(int) error { return errors.New("bad data") }}
		b, _ := newTestBatcher(s, batchConfig{queue: 20, batch: 10, delay: time.Second, timeout: 30 * time.Second})
		b.add(1)
		b.add(2)
		_ = b.forceFlush(t.Context())
		if h := health(b.ledger); h.Dropped != 2 || s.calls != 1 {
			t.Errorf("%+v after %d calls, want 2 dropped at the first", h, s.calls)
		}
		_ = b.shutdown(t.Context())
	})
}

// The exporter panics on a goroutine that no recover of the program reaches.
func TestBatcherSurvivesAnExporterThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{fail: func(call int) error {
			if call == 1 {
				panic("bug")
			}
			return nil
		}}
		b, alarms := newTestBatcher(s, batchConfig{queue: 20, batch: 10, delay: time.Second, timeout: time.Minute})
		b.add(1)
		b.add(2)
		if err := b.forceFlush(t.Context()); err == nil || !strings.Contains(err.Error(), "2 spans to e/0 are lost: the consumer panicked: bug") {
			t.Errorf("flush says %v", err)
		}
		b.add(3)
		if err := b.shutdown(t.Context()); err != nil || !s.closed {
			t.Errorf("shutdown: %v; exporter closed: %t", err, s.closed)
		}
		h := health(b.ledger)
		balanced(t, Traces, h)
		if h.Exported != 1 || h.Dropped != 2 || alarms.Load() == 0 {
			t.Errorf("%+v with %d alarms, want two lost and one exported", h, alarms.Load())
		}
	})
}

func TestBatcherShutdownKeepsItsDeadlineAndCountsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{block: make(chan struct{})} // never
		b, _ := newTestBatcher(s, batchConfig{queue: 100, batch: 10, delay: time.Second, timeout: time.Hour})
		for _, i := range numbers(35) {
			b.add(i)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		err := b.shutdown(ctx)
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("shutdown took %v, want 3 s", took)
		}
		if err == nil {
			t.Error("shutdown lost 35 items without an error")
		}
		h := health(b.ledger)
		if h.Emitted != 35 || h.Dropped != 35 || h.Queued != 0 {
			t.Errorf("%+v, want 35 dropped", h)
		}
		if again := b.shutdown(ctx); again != err {
			t.Errorf("the second shutdown says %v, the first said %v", again, err)
		}
		b.add(99)
		if n := b.ledger.read().refused[lossShutdown]; n != 26 {
			t.Errorf("%d dropped for the shutdown, want the 25 that waited and one that came late", n)
		}
		if err := b.forceFlush(t.Context()); err != nil {
			t.Errorf("flush after shutdown: %v", err)
		}
	})
}

func TestBatcherFlushEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{block: make(chan struct{})}
		b, _ := newTestBatcher(s, batchConfig{queue: 100, batch: 10, delay: time.Second, timeout: time.Hour})
		b.add(1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.forceFlush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("flush says %v, want the deadline", err)
		}
		close(s.block)
		if err := b.shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if got := s.items(); !slices.Equal(got, []int{1}) {
			t.Errorf("exported %v, want 1", got)
		}
	})
}

// TestBatcherAccountHoldsAtAnyMoment reads the account from one goroutine while several others add items and exports sometimes
// fail.
func TestBatcherAccountHoldsAtAnyMoment(t *testing.T) {
	s := &sink{fail: func(call int) error {
		if call%3 == 0 {
			return errors.New("no")
		}
		return nil
	}}
	b, _ := newTestBatcher(s, batchConfig{queue: 64, batch: 16, delay: time.Millisecond, timeout: time.Second})
	const writers, each = 4, 20_000
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for i := range each {
				b.add(i)
			}
		})
	}
	stop := make(chan struct{})
	looked := make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				looked <- n
				return
			default:
				balanced(t, Traces, health(b.ledger))
				n++
			}
		}
	}()
	wg.Wait()
	_ = b.shutdown(t.Context())
	close(stop)
	if n := <-looked; n == 0 {
		t.Error("nobody looked")
	}
	h := health(b.ledger)
	if h.Emitted != writers*each || h.Queued != 0 || h.Exported != int64(len(s.items())) || h.Dropped != h.Emitted-h.Exported {
		t.Errorf("%+v, and the exporter has %d", h, len(s.items()))
	}
}

func TestBatcherAddDoesNotAllocate(t *testing.T) {
	s := &sink{block: make(chan struct{})}
	b, _ := newTestBatcher(s, batchConfig{queue: 1000, batch: 1000, delay: time.Hour, timeout: time.Hour})
	for range 1000 {
		b.add(0)
	}
	if n := testing.AllocsPerRun(1000, func() { b.add(1) }); n != 0 {
		t.Errorf("a dropped item costs %v allocations, want none", n)
	}
	close(s.block)
	_ = b.shutdown(t.Context())
}

func BenchmarkBatcherAdd(b *testing.B) {
	for name, block := range map[string]bool{"exporting": false, "dropping": true} {
		b.Run(name, func(b *testing.B) {
			s := &discard{}
			if block {
				s.block = make(chan struct{})
			}
			l := newLedger(Traces, component{}, component{}, 2048, func() {})
			q := newBatcher(l, batchConfig{queue: 2048, batch: 512, delay: time.Second, timeout: time.Hour}, func(int) int64 { return 100 }, s.export, s.shutdown)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					q.add(1)
				}
			})
			b.StopTimer()
			if block {
				close(s.block)
			}
			_ = q.shutdown(context.Background())
		})
	}
}

// discard is an exporter that keeps nothing.
type discard struct{ block chan struct{} }

func (d *discard) export(context.Context, []int) error {
	if d.block != nil {
		<-d.block
	}
	return nil
}

func (d *discard) shutdown(context.Context) error { return nil }
