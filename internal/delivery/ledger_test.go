package delivery

import (
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// balanced fails the test if the counts of a ledger do not add up, in total or by reason.
func balanced(t *testing.T, a Account) {
	t.Helper()
	if a.Emitted != a.Delivered+a.Dropped()+a.Queued() {
		t.Errorf("the sum does not hold: %+v", a)
	}
	var refused, failed int64
	for _, n := range a.RefusedBy {
		refused += n
	}
	for _, n := range a.FailedBy {
		failed += n
	}
	if refused != a.Refused || failed != a.Failed || min(a.Waiting, a.InFlight, a.Delivered) < 0 {
		t.Errorf("the reasons do not add up: %+v", a)
	}
}

// TestLedgerHoldsAtAnyMoment reads the account while several goroutines move items, through a queue and past it.
func TestLedgerHoldsAtAnyMoment(t *testing.T) {
	l := NewLedger(&LedgerOptions{Classify: error.Error})
	q := NewQueue[int](l, &QueueOptions{Limits: Limits{Items: 50, Bytes: 400}, Batch: Limits{Items: 7}})
	stop := make(chan struct{})
	var readers, writers sync.WaitGroup
	reads := 0
	readers.Go(func() {
		for ; !closed(stop); reads++ {
			balanced(t, l.Read())
		}
	})
	var taken, direct int64
	readers.Go(func() {
		for batch := []int(nil); !closed(stop) || q.Len() > 0; {
			batch = q.Take(batch, DefaultBatchBytes)
			n := int64(len(batch))
			taken += n
			part := n / 2
			q.Settle(part, part, io.EOF)
			q.Settle(n-part, 0, nil)
		}
	})
	const each = 5000
	for range 4 {
		writers.Go(func() {
			for i := range each {
				q.Push(i, rand.Int64N(20))
			}
		})
	}
	writers.Go(func() {
		for range each {
			l.Begin(3)
			l.Settle(3, 1, io.ErrUnexpectedEOF)
			l.Refuse(2, "rejected")
			direct += 5
		}
	})
	writers.Wait()
	close(stop)
	readers.Wait()
	a := l.Read()
	balanced(t, a)
	if a.Emitted != 4*each+direct || a.Queued() != 0 || reads == 0 {
		t.Errorf("%+v after %d reads", a, reads)
	}
	if want := a.RefusedBy[QueueFull] + a.RefusedBy[QueueBytes]; taken != 4*each-want || a.RefusedBy["rejected"] != 2*each {
		t.Errorf("%d taken, refused by %v", taken, a.RefusedBy)
	}
	if a.FailedBy["unexpected EOF"] != each || a.FailedBy["EOF"] == 0 {
		t.Errorf("failed by %v", a.FailedBy)
	}
}

func TestAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		notified := 0
		l := NewLedger(&LedgerOptions{Notify: func() { notified++ }})
		start := time.Now()
		l.Failed(io.EOF)
		time.Sleep(time.Second)
		l.Failed(io.ErrUnexpectedEOF)
		if a := l.Read(); a.Failures != 2 || !a.FailingSince.Equal(start) || a.LastErr != io.ErrUnexpectedEOF || !a.LastSuccess.IsZero() {
			t.Errorf("after two failures: %+v", a.Attempts)
		}
		l.Answered(nil)
		if a := l.Read(); a.Failures != 0 || !a.FailingSince.IsZero() || a.LastErr != io.ErrUnexpectedEOF || !a.LastSuccess.Equal(time.Now()) {
			t.Errorf("after a success: %+v", a.Attempts)
		}
		l.Answered(io.EOF)
		if a := l.Read(); a.Failures != 0 || a.LastErr != io.EOF || notified != 3 {
			t.Errorf("after a partial success: %+v, notified %d times", a.Attempts, notified)
		}
	})
}

func TestLossSinceGivesTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLedger(&LedgerOptions{Subject: "events to the bus"})
		l.Answered(io.EOF)
		time.Sleep(time.Second)
		m := l.Mark()
		if err := l.LossSince(m); err != nil {
			t.Errorf("nothing is lost, and the error is %v", err)
		}
		l.Refuse(2, QueueFull)
		if err := l.LossSince(m); err == nil || err.Error() != "2 events to the bus are lost" {
			t.Errorf("an old failure is no reason: %v", err)
		}
		late := errors.New("interrupt")
		l.Begin(1)
		l.Settle(1, 1, errors.Join(ErrOutOfTime, late))
		if err := l.LossSince(m); !errors.Is(err, late) || !strings.HasPrefix(err.Error(), "3 events") {
			t.Errorf("the reason is not the time: %v", err)
		}
		l.Failed(io.ErrClosedPipe)
		if err := l.LossSince(m); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the reason is not the failure: %v", err)
		}
	})
}
