package consulsync_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	gosync "sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/sync"
	"github.com/go-os/go-os/state/sync/consulsync"
	"github.com/go-os/go-os/state/sync/driver"
)

func sessionAt(t testing.TB, addr string, opts *consulsync.Options) *sync.Session {
	t.Helper()
	s := sync.New(consulsync.New(client(t, addr, ""), opts), &sync.Options{TTL: 10 * time.Second})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func client(t testing.TB, addr, token string) *api.Client {
	t.Helper()
	c, err := api.NewClient(&api.Config{Address: addr, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestAgentLeaves gracefully stops the agent of a holder while another process waits. The holder's grant ends before the other process
// gets the lock.
func TestAgentLeaves(t *testing.T) {
	suite.Short(t) // Consul takes up to two TTLs of ten seconds to end a session
	t.Parallel()
	server := testenv.Consul(t)
	agent := testenv.ConsulAgent(t, server)
	holder, waiter := sessionAt(t, agent.Addr(0), nil), sessionAt(t, server.Addr(0), nil)
	held, err := holder.Mutex("m").Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got *sync.Grant
	var at time.Time
	var group gosync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	group.Go(func() {
		var err error
		if got, err = waiter.Mutex("m").Lock(ctx); err != nil {
			t.Errorf("Lock: %v", err)
		}
		at = time.Now()
	})
	time.Sleep(time.Second)
	agent.Stop()
	left := time.Now()
	group.Wait()
	if ended := held.Deadline(); !ended.Before(at) || held.Lost() == nil {
		t.Errorf("the waiter got the lock %s before the holder's context ended; the holder lost it: %v", ended.Sub(at), held.Lost())
	}
	t.Logf("the next holder came %s after the agent had left", at.Sub(left))
	if got != nil && got.Token() <= held.Token() {
		t.Errorf("token %d came after %d", got.Token(), held.Token())
	}
}

// TestNodeComesBack deregisters the node of the sessions. The lock is lost, and the next acquisition registers the node again.
func TestNodeComesBack(t *testing.T) {
	t.Parallel()
	server := testenv.Consul(t)
	s := sessionAt(t, server.Addr(0), &consulsync.Options{Node: "locks"})
	held, err := s.Mutex("m").Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client(t, server.Addr(0), "").Catalog().Deregister(&api.CatalogDeregistration{Node: "locks"}, nil); err != nil {
		t.Fatal(err)
	}
	<-held.Context().Done()
	if err := held.Lost(); !errors.Is(err, sync.ErrLost) {
		t.Errorf("Lost: %v; want ErrLost", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	again, err := s.Mutex("m").Lock(ctx)
	if err != nil {
		t.Fatalf("Lock: %v", err)
	}
	if again.Token() <= held.Token() {
		t.Errorf("token %d came after %d", again.Token(), held.Token())
	}
}

// TestPermissions checks that an error names the permission that a token lacks.
func TestPermissions(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{"/v1/session/create": "session:write", "/v1/catalog/register": "node:write"} {
		answer := func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == path {
				http.Error(w, "Permission denied", http.StatusForbidden)
			} else {
				http.Error(w, "Missing node registration", http.StatusInternalServerError)
			}
		}
		server := httptest.NewServer(http.HandlerFunc(answer))
		d := consulsync.New(client(t, server.Listener.Addr().String(), ""), nil)
		_, err := d.Grant(t.Context(), 10*time.Second)
		if !errors.Is(err, driver.ErrDenied) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), consulsync.DefaultNode) {
			t.Errorf("Grant: %v; want ErrDenied with %s on %s in it", err, want, consulsync.DefaultNode)
		}
		server.Close()
	}
}

// TestForeignAnswers uses a proxy that answers every request itself for a while. The driver accepts none of its answers as Consul's.
func TestForeignAnswers(t *testing.T) {
	t.Parallel()
	engine := testenv.Consul(t)
	var status atomic.Int64
	behind := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: engine.Addr(0)})
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code := int(status.Load()); code != 0 {
			http.Error(w, http.StatusText(code), code)
			return
		}
		behind.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	d := consulsync.New(client(t, proxy.Listener.Addr().String(), ""), nil)
	defer d.Close()
	lease, err := d.Grant(t.Context(), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	claim := driver.Claim{Name: "mutex/m", ID: "a1", Lease: lease, Seats: 1}
	if claim.Token, _, err = d.Acquire(t.Context(), claim, false); err != nil {
		t.Fatal(err)
	}
	told := errors.New("told of a holder")
	calls := map[string]func() error{
		"Renew":   func() error { _, err := d.Renew(t.Context(), lease, []driver.Claim{claim}); return err },
		"Revoke":  func() error { return d.Revoke(t.Context(), lease) },
		"Await":   func() error { return d.Await(t.Context(), claim) },
		"Release": func() error { return d.Release(t.Context(), claim) },
		"Acquire": func() error { _, _, err := d.Acquire(t.Context(), claim, true); return err },
		"Watch":   func() error { return d.Watch(t.Context(), claim.Name, func(driver.Holder) error { return told }) },
	}
	for _, code := range []int{http.StatusNotFound, http.StatusInternalServerError, http.StatusBadGateway} {
		status.Store(int64(code))
		for what, call := range calls {
			if err := call(); !errors.Is(err, driver.ErrUnavailable) {
				t.Errorf("%s, answered with %d by a proxy: %v; want ErrUnavailable", what, code, err)
			}
		}
	}
	status.Store(0)
	if gone, err := d.Renew(t.Context(), lease, []driver.Claim{claim}); err != nil || len(gone) != 0 {
		t.Errorf("Renew with Consul back: %v, %v", gone, err)
	}
	if err := d.Revoke(t.Context(), lease); err != nil {
		t.Errorf("Revoke: %v", err)
	}
	if _, err := d.Renew(t.Context(), lease, nil); !errors.Is(err, driver.ErrLost) {
		t.Errorf("Renew of a session that is over: %v; want ErrLost", err)
	}
}

// TestQueriesThatDoNotWait answers every read at once, like a proxy that drops query parameters. A waiter does not spin.
func TestQueriesThatDoNotWait(t *testing.T) {
	t.Parallel()
	engine := testenv.Consul(t)
	var asked atomic.Int64
	behind := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: engine.Addr(0)})
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		q.Del("index")
		r.URL.RawQuery = q.Encode()
		asked.Add(1)
		behind.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	holder, waiter := sessionAt(t, engine.Addr(0), nil), sessionAt(t, proxy.Listener.Addr().String(), nil)
	held, err := holder.Mutex("m").Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		_, err := waiter.Mutex("m").Lock(t.Context())
		got <- err
	}()
	time.Sleep(4 * time.Second)
	if n := asked.Load(); n > 40 {
		t.Errorf("a waiter asked %d times in 4 s", n)
	}
	if err := held.Release(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-got; err != nil {
		t.Errorf("Lock: %v", err)
	}
}
