package bench

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/driver"
)

// fleet is a number of gRPC servers on loopback, and the registry that knows them.
type fleet struct {
	servers []*server

	mu       sync.Mutex
	absent   int // index of the server that is not registered; -1 if all are
	watchers []func()
}

// server answers calls after a while.
type server struct {
	testgrpc.UnimplementedTestServiceServer

	address string
	delay   time.Duration
	fails   bool
	calls   atomic.Int64
}

// EmptyCall implements testgrpc.TestServiceServer.
func (s *server) EmptyCall(ctx context.Context, empty *testgrpc.Empty) (*testgrpc.Empty, error) {
	s.calls.Add(1)
	if s.fails {
		return nil, status.Error(codes.Unavailable, "out of order")
	}
	timer := time.NewTimer(s.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return empty, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// newFleet starts the servers.
func newFleet(t testing.TB, servers []*server) *fleet {
	for _, s := range servers {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s.address = listener.Addr().String()
		g := grpc.NewServer()
		testgrpc.RegisterTestServiceServer(g, s)
		go func() { _ = g.Serve(listener) }()
		t.Cleanup(g.Stop)
	}
	return &fleet{servers: servers, absent: -1}
}

// present returns the addresses that are registered.
func (f *fleet) present() (addresses []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, s := range f.servers {
		if i != f.absent {
			addresses = append(addresses, s.address)
		}
	}
	return addresses
}

// watch calls changed after each change.
func (f *fleet) watch(changed func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watchers = append(f.watchers, changed)
}

// flap removes one server from the registry every other interval, and returns it in between, until the context ends.
func (f *fleet) flap(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			f.set(-1)
			return
		case <-tick.C:
		}
		if n%2 == 0 {
			f.set(n / 2 % len(f.servers))
		} else {
			f.set(-1)
		}
	}
}

func (f *fleet) set(absent int) {
	f.mu.Lock()
	f.absent = absent
	watchers := slices.Clone(f.watchers)
	f.mu.Unlock()
	for _, changed := range watchers {
		changed()
	}
}

// registry is the fleet for package discovery.
type registry struct{ fleet *fleet }

// System implements driver.Reader.
func (registry) System() string { return "bench" }

// Close implements driver.Reader.
func (registry) Close() error { return nil }

// Watch implements driver.Reader.
func (r registry) Watch(ctx context.Context, service string, emit func(driver.Event) error) error {
	changes := make(chan struct{}, 1)
	r.fleet.watch(func() {
		select {
		case changes <- struct{}{}:
		default: // the one that waits shows this change, too
		}
	})
	if err := emit(driver.Event{Kind: driver.EventResync}); err != nil {
		return err
	}
	for first := true; ; first = false {
		present := r.fleet.present()
		for i, s := range r.fleet.servers {
			state := discovery.Up
			if !slices.Contains(present, s.address) {
				state = discovery.Gone
			}
			record := driver.Record{Instance: driver.Instance{
				Service: service, ID: fmt.Sprint("server-", i), Addresses: map[string]string{"grpc": s.address},
				Weight: driver.DefaultWeight, State: state,
			}}
			if err := emit(driver.Event{Kind: driver.EventPut, Record: record}); err != nil {
				return err
			}
		}
		if first {
			if err := emit(driver.Event{Kind: driver.EventSynced}); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changes:
		}
	}
}
