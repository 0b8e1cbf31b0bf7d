package synctest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	gosync "sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/sync/driver"
	"github.com/go-os/go-os/state/sync/memsync"
)

// wire is a driver that reaches a memsync by TCP. Each call has its own connection, with one request and its answers as lines of JSON.
type wire struct {
	*memsync.Driver        // only for its Capabilities
	addr            string // of a wireServer
}

type wireRequest struct {
	Op     string
	TTL    time.Duration
	Lease  driver.LeaseID
	Claim  driver.Claim
	Claims []driver.Claim
	Try    bool
}

type wireAnswer struct {
	Lease   driver.LeaseID
	Token   driver.Token
	Granted bool
	Gone    []driver.Claim
	Holder  driver.Holder
	Err     string
}

// wireErrors are the errors that cross the wire by their text.
var wireErrors = []error{driver.ErrHeld, driver.ErrLost, driver.ErrInvalid, driver.ErrClosed, context.Canceled}

func (a wireAnswer) err() error {
	for _, err := range wireErrors {
		if a.Err == err.Error() {
			return err
		}
	}
	if a.Err != "" {
		return errors.New(a.Err)
	}
	return nil
}

func errorText(err error) string {
	for _, known := range wireErrors {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return fmt.Sprint(err)
}

// each sends a request, and calls f for each answer until f returns an error or the connection ends.
func (w *wire) each(ctx context.Context, request wireRequest, f func(wireAnswer) error) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", w.addr)
	if err != nil {
		return fmt.Errorf("%w: %w", driver.ErrUnavailable, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	line, err := json.Marshal(request)
	if err != nil {
		return err
	}
	if _, err = conn.Write(append(line, '\n')); err != nil {
		return w.ended(ctx, err)
	}
	for answers := json.NewDecoder(conn); ; {
		var a wireAnswer
		if err := answers.Decode(&a); err != nil {
			return w.ended(ctx, err)
		}
		if err := errors.Join(a.err(), f(a)); err != nil {
			return err
		}
	}
}

func (w *wire) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", driver.ErrUnavailable, err)
}

// one is each for a single answer.
func (w *wire) one(ctx context.Context, request wireRequest) (answer wireAnswer, err error) {
	err = w.each(ctx, request, func(a wireAnswer) error {
		answer = a
		return errSeen
	})
	if err = unseen(err); err != nil {
		return wireAnswer{}, err
	}
	return answer, nil
}

// unseen hides that an answer was received.
func unseen(err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	if all := joined.Unwrap(); !errors.Is(all[0], errSeen) {
		return all[0]
	}
	return nil
}

func (w *wire) Grant(ctx context.Context, ttl time.Duration) (driver.LeaseID, error) {
	a, err := w.one(ctx, wireRequest{Op: "grant", TTL: ttl})
	return a.Lease, err
}

func (w *wire) Renew(ctx context.Context, id driver.LeaseID, claims []driver.Claim) ([]driver.Claim, error) {
	a, err := w.one(ctx, wireRequest{Op: "renew", Lease: id, Claims: claims})
	return a.Gone, err
}

func (w *wire) Revoke(ctx context.Context, id driver.LeaseID) error {
	_, err := w.one(ctx, wireRequest{Op: "revoke", Lease: id})
	return err
}

func (w *wire) Acquire(ctx context.Context, c driver.Claim, try bool) (driver.Token, bool, error) {
	a, err := w.one(ctx, wireRequest{Op: "acquire", Claim: c, Try: try})
	return a.Token, a.Granted, err
}

func (w *wire) Await(ctx context.Context, c driver.Claim) error {
	_, err := w.one(ctx, wireRequest{Op: "await", Claim: c})
	return err
}

func (w *wire) Release(ctx context.Context, c driver.Claim) error {
	_, err := w.one(ctx, wireRequest{Op: "release", Claim: c})
	return err
}

func (w *wire) Watch(ctx context.Context, name string, emit func(driver.Holder) error) error {
	return w.each(ctx, wireRequest{Op: "watch", Claim: driver.Claim{Name: name}}, func(a wireAnswer) error { return emit(a.Holder) })
}

// wireServer is the engine behind a wire.
type wireServer struct {
	driver driver.Driver
	began  func() (done func()) // called when the first byte of a request arrives
}

// serve returns the address of a server that ends with the test.
func (s *wireServer) serve(t testing.TB) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group gosync.WaitGroup
	t.Cleanup(func() {
		cancel()
		_ = listener.Close()
		group.Wait()
	})
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() { s.answer(ctx, conn) })
		}
	})
	return listener.Addr().String()
}

// answer serves one connection. Only waiting calls end with the connection.
func (s *wireServer) answer(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	lines := bufio.NewReader(conn)
	if _, err := lines.Peek(1); err != nil {
		return
	}
	done := s.began()
	line, err := lines.ReadBytes('\n')
	done()
	var r wireRequest
	if err != nil || json.Unmarshal(line, &r) != nil {
		return
	}
	waits, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = lines.ReadByte()
		cancel()
	}()
	send := func(a wireAnswer, err error) error {
		if err != nil {
			a.Err = errorText(err)
		}
		return json.NewEncoder(conn).Encode(a)
	}
	if r.Op == "watch" {
		_ = s.driver.Watch(waits, r.Claim.Name, func(h driver.Holder) error { return send(wireAnswer{Holder: h}, nil) })
		return
	}
	_ = send(s.do(ctx, waits, r))
}

func (s *wireServer) do(ctx, waits context.Context, r wireRequest) (a wireAnswer, err error) {
	switch r.Op {
	case "grant":
		a.Lease, err = s.driver.Grant(ctx, r.TTL)
	case "renew":
		a.Gone, err = s.driver.Renew(ctx, r.Lease, r.Claims)
	case "revoke":
		err = s.driver.Revoke(ctx, r.Lease)
	case "acquire":
		a.Token, a.Granted, err = s.driver.Acquire(ctx, r.Claim, r.Try)
	case "await":
		err = s.driver.Await(waits, r.Claim)
	case "release":
		err = s.driver.Release(ctx, r.Claim)
	}
	return a, err
}

// wireBackend returns a memory Backend behind a network that can be tapped. spoil modifies its drivers.
func wireBackend(t *testing.T, spoil func(*broken), began func() (done func())) Backend {
	b := &broken{Driver: memsync.New(nil), requests: new(atomic.Int64), faults: new(faulty)}
	spoil(b)
	addr := (&wireServer{b, began}).serve(t)
	tap := testenv.Tap(t, addr)
	opens := func(addr string) Open {
		return func(testing.TB) driver.Driver { return &wire{memsync.New(nil), addr} }
	}
	return Backend{
		patience: 8 * time.Second,
		Begin:    func(testing.TB) Open { return opens(tap.Endpoint()) },
		Beside:   opens(addr),
		Tap:      tap,
	}
}

// TestWire checks that network faults fail the promises of a driver that does not withstand them, and only those.
func TestWire(t *testing.T) {
	nothing := func() func() { return func() {} }
	var stuck gosync.Mutex
	for _, c := range []struct {
		name    string
		spoil   func(*broken)
		began   func() func()
		noticed []string
	}{
		{"breaks nothing", func(*broken) {}, nothing, nil},
		{"makes claims that were withdrawn", breakages()["makes claims that were withdrawn"].spoil, nothing, []string{heldBackName}},
		{"begins with half a request", func(*broken) {}, func() func() { stuck.Lock(); return stuck.Unlock }, []string{silentName}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, p := range network() {
				if p.Hook != "Tap and Beside" {
					continue
				}
				said := contract(wireBackend(t, c.spoil, c.began), new(Record)).Failures(t, p.Name)
				switch wanted := slices.Contains(c.noticed, p.Name); {
				case wanted && len(said) == 0:
					t.Errorf("a driver that %s passes %q", c.name, p.Name)
				case c.noticed == nil && len(said) > 0:
					t.Errorf("a driver that %s fails %q: %q", c.name, p.Name, said)
				}
			}
		})
	}
}

const (
	heldBackName = "faults/request held back"
	silentName   = "faults/network silent within a request"
)
