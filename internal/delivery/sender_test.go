package delivery

import (
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// peer is a consumer of batches. fail decides by the number of the call, which counts from 1. block holds calls until it is closed.
type peer struct {
	fail  func(call int) error
	block chan struct{}
	deaf  bool // it ignores its context

	mu     sync.Mutex
	calls  int
	got    []int
	sizes  []int
	closed int
}

func (p *peer) send(ctx context.Context, batch []int) error {
	p.mu.Lock()
	p.calls++
	call := p.calls
	p.mu.Unlock()
	if p.block != nil && p.deaf {
		<-p.block
	} else if p.block != nil {
		select {
		case <-p.block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if p.fail != nil {
		if err := p.fail(call); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, batch...)
	p.sizes = append(p.sizes, len(batch))
	return nil
}

func (p *peer) items() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.got)
}

// start returns a started sender to the peer, with batches of 10 items, a delay of a minute and retries for 30 s.
func (p *peer) start(opts SenderOptions) (*Sender[int], *Ledger) {
	l := NewLedger(&LedgerOptions{Subject: "numbers to the peer"})
	opts.Queue.Batch.Items = 10
	opts.Delay, opts.Timeout = time.Minute, 30*time.Second
	opts.Close = func(context.Context) error { p.closed++; return nil }
	if opts.Retry == nil {
		opts.Retry = &Retry{}
	}
	s := NewSender(l, p.send, &opts)
	s.Start()
	return s, l
}

func push(s *Sender[int], from, to int) {
	for i := from; i < to; i++ {
		s.Push(i, 1)
	}
}

func numbers(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

func TestSenderSendsFullBatchesAtOnceAndTheRestAfterTheDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{}
		s, l := p.start(SenderOptions{})
		push(s, 0, 25)
		synctest.Wait()
		if got := p.items(); !slices.Equal(got, numbers(20)) {
			t.Errorf("before the delay the peer has %v, want 20", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := p.items(); !slices.Equal(got, numbers(25)) || !slices.Equal(p.sizes, []int{10, 10, 5}) {
			t.Errorf("after the delay the peer has %v in batches of %v", got, p.sizes)
		}
		push(s, 25, 28)
		if err := s.Flush(t.Context()); err != nil || len(p.items()) != 28 {
			t.Errorf("after a flush the peer has %v: %v", p.items(), err)
		}
		push(s, 28, 30)
		if err := s.Shutdown(t.Context()); err != nil || len(p.items()) != 30 || p.closed != 1 {
			t.Errorf("after Shutdown the peer has %v, closed %d times: %v", p.items(), p.closed, err)
		}
		if a := l.Read(); a.Delivered != 30 || a.Failures != 0 || a.LastSuccess.IsZero() {
			t.Errorf("%+v", a)
		}
		if err := s.Shutdown(t.Context()); err != nil || p.closed != 1 {
			t.Errorf("the second Shutdown: %v, closed %d times", err, p.closed)
		}
	})
}

func TestSenderWithASlowPeerDropsTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{block: make(chan struct{})}
		s, l := p.start(SenderOptions{Queue: QueueOptions{Limits: Limits{Items: 20}}})
		push(s, 0, 10)
		synctest.Wait() // these are with the peer
		push(s, 10, 50)
		if got, want := l.Counts(), (Counts{Emitted: 50, Waiting: 20, InFlight: 10, Refused: 20}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "numbers to the peer are not flushed") {
			t.Errorf("a flush returns %v", err)
		}
		close(p.block)
		if err := s.Shutdown(t.Context()); err != nil || !slices.Equal(p.items(), numbers(30)) {
			t.Errorf("the peer has %v: %v", p.items(), err)
		}
	})
}

func TestSenderRetriesAndGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{fail: func(call int) error {
			if call == 3 {
				return nil
			}
			return io.EOF
		}}
		s, l := p.start(SenderOptions{})
		push(s, 0, 1)
		if err := s.Flush(t.Context()); err != nil || p.calls != 3 {
			t.Errorf("%v after %d calls, want success at the 3rd", err, p.calls)
		}
		push(s, 1, 2)
		start := time.Now()
		err := s.Flush(t.Context())
		if took := time.Since(start); !errors.Is(err, io.EOF) || took < 20*time.Second || took > 30*time.Second {
			t.Errorf("%v after %v, want the loss just before 30 s", err, took)
		}
		a := l.Read()
		balanced(t, a)
		if a.Delivered != 1 || a.Failed != 1 || a.Failures != p.calls-3 {
			t.Errorf("%+v after %d calls", a, p.calls)
		}
		_ = s.Shutdown(t.Context())
	})
}

// TestSenderSurvivesItsPeer: a consumer that panics, or that ends its goroutine, costs only its batch.
func TestSenderSurvivesItsPeer(t *testing.T) {
	for name, c := range map[string]struct {
		breaks func()
		is     func(error) bool
	}{
		"panic":  {func() { panic("bug") }, func(err error) bool { var p *PanicError; return errors.As(err, &p) && p.Value == "bug" }},
		"Goexit": {runtime.Goexit, func(err error) bool { return errors.Is(err, ErrExited) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &peer{fail: func(call int) error {
					if call%2 == 1 {
						c.breaks()
					}
					return nil
				}}
				s, l := p.start(SenderOptions{})
				push(s, 0, 9) // less than a batch: only the flush sends them
				if err := s.Flush(t.Context()); !c.is(err) {
					t.Errorf("the flush returns %v", err)
				}
				push(s, 9, 18)
				if err := s.Flush(t.Context()); err != nil {
					t.Errorf("the next flush returns %v", err)
				}
				push(s, 18, 23) // breaks while draining
				if err := s.Shutdown(t.Context()); !c.is(err) || p.closed != 1 {
					t.Errorf("Shutdown returns %v, closed %d times", err, p.closed)
				}
				a := l.Read()
				balanced(t, a)
				if a.Delivered != 9 || a.Failed != 14 || a.Queued() != 0 {
					t.Errorf("%+v", a)
				}
			})
		})
	}
}

func TestShutdownWhileThePeerBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{block: make(chan struct{})}
		s, l := p.start(SenderOptions{})
		push(s, 0, 35)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		time.AfterFunc(time.Second, func() {
			if reason := s.Push(1, 1); reason != QueueClosed {
				t.Errorf("a push during Shutdown: %q", reason)
			}
		})
		start := time.Now()
		err := s.Shutdown(ctx)
		if took := time.Since(start); took != 3*time.Second || !errors.Is(err, ErrOutOfTime) || !strings.Contains(err.Error(), "36 numbers to the peer are lost") {
			t.Errorf("%v after %v", err, took)
		}
		a := l.Read()
		balanced(t, a)
		if a.Failed != 10 || a.RefusedBy[Abandoned] != 25 || a.Failures != 0 || p.closed != 1 {
			t.Errorf("%+v; closed %d times", a, p.closed)
		}
		if reason := s.Push(1, 1); reason != QueueClosed {
			t.Errorf("a push after Shutdown: %q", reason)
		}
		if again := s.Shutdown(ctx); again.Error() != err.Error() {
			t.Errorf("the second Shutdown returns %v", again)
		}
	})
}

// TestShutdownWithADeafPeer: a peer that ignores its context keeps its batch, and Shutdown returns anyway.
func TestShutdownWithADeafPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{block: make(chan struct{}), deaf: true}
		s, l := p.start(SenderOptions{})
		push(s, 0, 15)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := s.Shutdown(ctx)
		if took := time.Since(start); took != time.Second+Grace || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "are not drained") {
			t.Errorf("%v after %v", err, took)
		}
		if c := l.Counts(); c.InFlight != 10 || c.Waiting != 5 {
			t.Errorf("%+v", c)
		}
		close(p.block)
		if err := s.Shutdown(t.Context()); err == nil || !strings.Contains(err.Error(), "5 numbers") {
			t.Errorf("when the peer has returned, Shutdown returns %v", err)
		}
		if got, want := l.Counts(), (Counts{Emitted: 15, Delivered: 10, Refused: 5}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
}

func TestShutdownWithAnEndedContextSendsNothing(t *testing.T) {
	for range 200 {
		shutdownWithAnEndedContext(t)
	}
}

func shutdownWithAnEndedContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{}
		s, l := p.start(SenderOptions{})
		push(s, 0, 5)
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("interrupt")
		cancel(cause)
		if err := s.Shutdown(ctx); !errors.Is(err, cause) || !errors.Is(err, ErrOutOfTime) || p.calls != 0 {
			t.Errorf("%v after %d calls", err, p.calls)
		}
		if c := l.Counts(); c.Refused != 5 {
			t.Errorf("%+v", c)
		}
	})
}

func TestShutdownGivesUpOnAPeerThatIsAway(t *testing.T) {
	for away, want := range map[bool]Counts{true: {Emitted: 25, Failed: 10, Refused: 15}, false: {Emitted: 25, Failed: 25}} {
		synctest.Test(t, func(t *testing.T) {
			l := NewLedger(nil)
			send := func(context.Context, []int) error { return io.EOF }
			s := NewSender(l, send, &SenderOptions{Queue: QueueOptions{Batch: Limits{Items: 10}}, Away: func(error) bool { return away }})
			push(s, 0, 25)
			if err := s.Shutdown(t.Context()); err == nil || err.Error() != "25 items are lost" {
				t.Errorf("Shutdown returns %v", err)
			}
			if got := l.Counts(); got != want {
				t.Errorf("away %t: %+v, want %+v", away, got, want)
			}
		})
	}
}

// TestShutdownHurriesARetry: Shutdown does not wait for a backoff that has grown, and GiveUp ends the attempts.
func TestShutdownHurriesARetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{fail: func(int) error { return io.EOF }}
		s, l := p.start(SenderOptions{Retry: &Retry{
			First: 100 * time.Millisecond, Longest: time.Hour, GiveUp: func(error, int) bool { return true },
		}})
		push(s, 0, 10)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		start, calls := time.Now(), p.calls
		if err := s.Shutdown(t.Context()); !errors.Is(err, io.EOF) || time.Since(start) > 100*time.Millisecond || p.calls > calls+1 {
			t.Errorf("%v after %v and %d more calls", err, time.Since(start), p.calls-calls)
		}
		if c := l.Counts(); c.Failed != 10 {
			t.Errorf("%+v", c)
		}
	})
}

func TestShutdownBeforeStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{}
		s := NewSender(NewLedger(nil), p.send, nil)
		push(s, 0, 5)
		if err := s.Shutdown(t.Context()); err != nil || len(p.got) != 5 {
			t.Errorf("the peer has %v: %v", p.got, err)
		}
		s.Start()
	})
}
