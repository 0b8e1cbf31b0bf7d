package etcdkv_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv/driver"
)

// streams returns how many streams of renewals an etcd has seen.
func streams(t *testing.T, engine *testenv.EtcdHandle) string {
	t.Helper()
	resp, err := http.Get(engine.URL() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if line := lines.Text(); strings.HasPrefix(line, `grpc_server_started_total{grpc_method="LeaseKeepAlive"`) {
			return line[strings.LastIndexByte(line, ' ')+1:]
		}
	}
	t.Fatal("etcd does not count streams of renewals")
	return ""
}

// TestRenewalsShareAStream renews several leases at the same time, one of which has ended, and again after a restart of etcd.
func TestRenewalsShareAStream(t *testing.T) {
	t.Parallel()
	engine := testenv.Etcd(t)
	s := connect(t, engine.Endpoint())
	defer s.Close()
	var leases []driver.LeaseID
	for range 5 {
		id, err := s.Grant(t.Context(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		leases = append(leases, id)
	}
	ended := leases[4]
	if err := s.Revoke(t.Context(), ended); err != nil {
		t.Fatal(err)
	}
	var work errgroup.Group
	for n := range 200 {
		id := leases[n%5]
		work.Go(func() error {
			err := s.Renew(t.Context(), id)
			if gone := errors.Is(err, driver.ErrNotFound); gone != (id == ended) || err != nil && !gone {
				return fmt.Errorf("lease %s, of which %s has ended: %w", id, ended, err)
			}
			return nil
		})
	}
	if err := work.Wait(); err != nil {
		t.Error(err)
	}
	if got := streams(t, engine); got != "1" {
		t.Errorf("the renewals took %s streams, want one", got)
	}
	engine.Restart()
	testenv.Eventually(t, 10*time.Second, "a renewal after a restart", func() error { return s.Renew(t.Context(), leases[0]) })
}

// TestRenewalOfSilentServer has one of two endpoints stop answering: the renewal that was sent to it fails, and the next one reaches the other
// endpoint.
func TestRenewalOfSilentServer(t *testing.T) {
	t.Parallel()
	engine := testenv.Etcd(t)
	first, second := testenv.Proxy(t, engine.Endpoint()), testenv.Proxy(t, engine.Endpoint())
	s := connect(t, first.Endpoint(), second.Endpoint())
	defer s.Close()
	id, err := s.Grant(t.Context(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	renew := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return s.Renew(ctx, id)
	}
	for _, silent := range []*testenv.ProxyHandle{first, second} {
		testenv.Eventually(t, 20*time.Second, "a renewal by both", renew)
		silent.Drop()
		failed := 0
		testenv.Eventually(t, 6*time.Second, "a renewal by the other endpoint", func() error {
			err := renew()
			if err != nil {
				failed++
			}
			return err
		})
		if failed > 2 {
			t.Errorf("%d renewals failed before one took the other endpoint", failed)
		}
		silent.Heal()
	}
}

// TestShortDeadlines renews a lease with deadlines that have almost ended. The renewals of another lease neither fail nor need a new stream.
func TestShortDeadlines(t *testing.T) {
	t.Parallel()
	engine := testenv.Etcd(t)
	s := connect(t, engine.Endpoint())
	defer s.Close()
	var leases [2]driver.LeaseID
	for i := range leases {
		var err error
		if leases[i], err = s.Grant(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Renew(t.Context(), leases[0]); err != nil {
		t.Fatal(err)
	}
	var work errgroup.Group
	work.Go(func() error {
		for range 300 {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Microsecond)
			_ = s.Renew(ctx, leases[0]) // it may fail
			cancel()
			time.Sleep(time.Millisecond)
		}
		return nil
	})
	work.Go(func() error {
		for n := range 1000 {
			if err := s.Renew(t.Context(), leases[1]); err != nil {
				return fmt.Errorf("renewal %d without a deadline: %w", n, err)
			}
		}
		return nil
	})
	if err := work.Wait(); err != nil {
		t.Error(err)
	}
	if got := streams(t, engine); got != "1" {
		t.Errorf("the renewals took %s streams, want one", got)
	}
}

// TestRenewalMovesOn has a renewal give up the stream to a silent server. Another one, which has more time, continues on the next stream.
func TestRenewalMovesOn(t *testing.T) {
	t.Parallel()
	engine := testenv.Etcd(t)
	s := connect(t, engine.Endpoint())
	defer s.Close()
	id, err := s.Grant(t.Context(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Renew(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	engine.Pause()
	patient := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		patient <- s.Renew(ctx, id)
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := s.Renew(ctx, id); !errors.Is(err, driver.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("by a silent server: %v, want ErrUnavailable", err)
	}
	engine.Resume()
	if err := <-patient; err != nil {
		t.Errorf("the renewal with more time: %v", err)
	}
}
