package delivery

import (
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestQueueAgainstAModel runs random steps on a queue and on a model made of slices.
func TestQueueAgainstAModel(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		limits := Limits{1 + rnd.IntN(20), 1 + rnd.Int64N(100)}
		if seed%2 == 1 { // the ring grows
			limits = Limits{smallestRing + rnd.IntN(200), 2000}
		}
		batch := Limits{1 + rnd.IntN(25), 1 + rnd.Int64N(50)}
		l := NewLedger(nil)
		q := NewQueue[int64](l, &QueueOptions{Limits: limits, Batch: batch})
		batch = q.Batch()
		var waiting, flying []int64 // an item is its size
		var held int64              // bytes in flight, until all are settled
		var account Counts
		sum := func(of []int64) (n int64) {
			for _, size := range of {
				n += size
			}
			return n
		}
		for step := range 300 {
			switch rnd.IntN(5) {
			case 0, 1, 2:
				size := rnd.Int64N(30)
				want := Accepted
				switch {
				case len(waiting) == limits.Items:
					want = QueueFull
				case sum(waiting)+held+size > limits.Bytes:
					want = QueueBytes
				}
				account.Emitted++
				if want == Accepted {
					waiting = append(waiting, size)
					account.Waiting++
				} else {
					account.Refused++
				}
				if got := q.Push(size, size); got != want {
					t.Fatalf("seed %d, step %d: push of %d is %q, want %q", seed, step, size, got, want)
				}
			case 3:
				n, bytes := 0, int64(0)
				for n < len(waiting) && n < batch.Items && (n == 0 || bytes+waiting[n] <= batch.Bytes) {
					bytes += waiting[n]
					n++
				}
				got := q.Take(nil, DefaultBatchBytes)
				if !slices.Equal(got, waiting[:n]) {
					t.Fatalf("seed %d, step %d: took %v, want %v", seed, step, got, waiting[:n])
				}
				flying, waiting, held = append(flying, got...), waiting[n:], held+bytes
				account.Waiting, account.InFlight = int64(len(waiting)), int64(len(flying))
			case 4:
				n := int64(rnd.IntN(len(flying) + 1))
				lost := rnd.Int64N(n + 1)
				q.Settle(n, lost, io.EOF)
				if flying = flying[n:]; len(flying) == 0 {
					held = 0
				}
				account.InFlight, account.Delivered, account.Failed = int64(len(flying)), account.Delivered+n-lost, account.Failed+lost
			}
			if got := l.Counts(); got != account || q.Len() != len(waiting) {
				t.Fatalf("seed %d, step %d: %+v and %d wait, want %+v and %d", seed, step, got, q.Len(), account, len(waiting))
			}
		}
	}
}

func TestItemLargerThanItsBounds(t *testing.T) {
	l := NewLedger(nil)
	q := NewQueue[string](l, &QueueOptions{Limits: Limits{Items: 10, Bytes: 100}, Batch: Limits{Items: 10, Bytes: 20}})
	q.Push("small", 1)
	for _, size := range []int64{101, math.MaxInt64} {
		if reason := q.Push("larger than the queue", size); reason != QueueBytes {
			t.Errorf("an item of %d bytes in a queue of 100: %q", size, reason)
		}
	}
	q.Push("larger than a batch", 50)
	q.Push("negative", -5)
	var got []string
	for range 3 {
		batch := q.Take(nil, DefaultBatchBytes)
		got = append(got, batch...)
		got = append(got, "|")
		q.Settle(int64(len(batch)), 0, nil)
	}
	if want := []string{"small", "|", "larger than a batch", "|", "negative", "|"}; !slices.Equal(got, want) {
		t.Errorf("batches are %q, want %q", got, want)
	}
	q.Push("negative", -5)
	if reason := q.Push("all", 100); reason != Accepted {
		t.Errorf("an empty queue has no room for as many bytes as it may hold: %q", reason)
	}
	if reason := q.Push("more", 1); reason != QueueBytes {
		t.Errorf("a full queue: %q", reason)
	}
}

func TestPushFuncBuildsOnlyWhatIsQueued(t *testing.T) {
	l := NewLedger(nil)
	q := NewQueue[int](l, &QueueOptions{Limits: Limits{Items: 1}})
	built := 0
	build := func() int { built++; return built }
	if q.PushFunc(1, build) != Accepted || q.PushFunc(1, build) != QueueFull || built != 1 {
		t.Errorf("built %d items for one place", built)
	}
	q.Take(nil, DefaultBatchBytes)
	func() {
		defer func() { _ = recover() }()
		q.PushFunc(1, func() int { panic("build") })
	}()
	if got, want := l.Counts(), (Counts{Emitted: 2, InFlight: 1, Refused: 1}); got != want {
		t.Errorf("after a panic: %+v, want %+v", got, want)
	}
}

func TestTakeFullWaitsForAFullBatch(t *testing.T) {
	q := NewQueue[int](NewLedger(nil), &QueueOptions{Batch: Limits{Items: 3, Bytes: 100}})
	take := func() int { return len(q.TakeFull(nil, DefaultBatchBytes)) }
	q.Push(1, 10)
	q.Push(2, 10)
	if n := take(); n != 0 || len(q.Ready()) != 0 {
		t.Errorf("took %d of an incomplete batch", n)
	}
	q.Push(3, 10)
	if n := take(); n != 3 || len(q.Ready()) != 1 {
		t.Errorf("took %d of 3 items", n)
	}
	<-q.Ready()
	q.Push(4, 99)
	q.Push(5, 1)
	if n := take(); n != 2 || len(q.Ready()) != 1 {
		t.Errorf("took %d of 2 items that hold as many bytes as a batch may", n)
	}
	q.Push(6, 10)
	if n := len(q.TakeFull(nil, 10)); n != 1 {
		t.Errorf("took %d of a batch that the caller limits to 10 bytes", n)
	}
}

func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLedger(nil)
		q := NewQueue[int](l, nil)
		if left := q.Flush(t.Context()); left != 0 {
			t.Errorf("an empty queue has %d left", left)
		}
		q.Push(1, 1)
		q.Push(2, 1)
		q.Take(nil, DefaultBatchBytes)
		q.Settle(1, 0, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if left := q.Flush(ctx); left != 1 || len(q.flushes) != 0 {
			t.Errorf("%d left, want 1; %d flushes wait", left, len(q.flushes))
		}
		flushed := make(chan int64)
		go func() { flushed <- q.Flush(context.Background()) }()
		synctest.Wait()
		<-q.Ready()
		q.Push(3, 1) // after the flush
		if len(q.TakeFull(nil, DefaultBatchBytes)) != 1 {
			t.Error("a flush does not make an incomplete batch due")
		}
		q.Settle(1, 1, io.EOF)
		if left := <-flushed; left != 0 {
			t.Errorf("%d left after the items of the flush are settled", left)
		}
		if c := l.Counts(); c.InFlight != 1 {
			t.Errorf("the flush waited for a later item: %+v", c)
		}
	})
}

// TestAbandonDoesNotEndAFlushEarly abandons items that come after those in flight. A Flush that waits for the items in flight must not end.
func TestAbandonDoesNotEndAFlushEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLedger(nil)
		q := NewQueue[int](l, &QueueOptions{Batch: Limits{Items: 2}})
		q.Push(1, 1)
		q.Push(2, 1)
		q.Take(nil, DefaultBatchBytes)
		flushed := make(chan int64, 1)
		go func() { flushed <- q.Flush(context.Background()) }()
		synctest.Wait()
		q.Push(3, 1)
		q.Push(4, 1)
		reason := errors.New("interrupt")
		if dropped, inFlight := q.Abandon(reason); dropped != 2 || inFlight != 2 {
			t.Errorf("dropped %d with %d in flight, want 2 and 2", dropped, inFlight)
		}
		q.Settle(1, 0, nil)
		synctest.Wait()
		if len(flushed) != 0 {
			t.Error("the flush ended with an item in flight")
		}
		q.Settle(1, 0, nil)
		<-flushed
		if reason := q.Push(5, 1); reason != QueueClosed {
			t.Errorf("an abandoned queue: %q", reason)
		}
		a := l.Read()
		balanced(t, a)
		if a.RefusedBy[Abandoned] != 2 || a.RefusedBy[QueueClosed] != 1 || a.Delivered != 2 || a.LateErr != reason {
			t.Errorf("%+v", a)
		}
		if left := q.Flush(t.Context()); left != 0 {
			t.Errorf("%d left in an abandoned queue", left)
		}
	})
}

func TestPushDoesNotAllocate(t *testing.T) {
	q := NewQueue[int](NewLedger(nil), &QueueOptions{Limits: Limits{Items: 64}})
	batch := make([]int, 0, 64)
	if n := testing.AllocsPerRun(1000, func() {
		q.Push(1, 1)
		q.PushFunc(1, func() int { return len(batch) })
		batch = q.Take(batch, DefaultBatchBytes)
		q.Settle(2, 0, nil)
	}); n != 0 {
		t.Errorf("two items cost %v allocations, want none", n)
	}
	for q.Push(1, 1) == Accepted {
	}
	if n := testing.AllocsPerRun(1000, func() { q.Push(1, 1) }); n != 0 {
		t.Errorf("a dropped item costs %v allocations, want none", n)
	}
}
