package kvdiscovery_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/telemetry"
)

// The environment of a child process.
const (
	childEtcd = "OS_TEST_CHILD_ETCD" // the endpoint
	childID   = "OS_TEST_CHILD_ID"   // of the instance
)

// TestChild is the program of the instances that TestDeadInstances kills: a server that registers itself and prints its address.
func TestChild(t *testing.T) {
	endpoint := os.Getenv(childEtcd)
	if endpoint == "" {
		t.Skip("this is the program of another test")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	}()
	store := kv.New(etcdkv.New(connect(t, []string{endpoint}), nil), &kv.Options{Telemetry: telemetry.Off()})
	registry, err := kvdiscovery.New(store, nil)
	if err != nil {
		t.Fatal(err)
	}
	registrar, err := discovery.NewRegistrar(registry, &discovery.RegistrarOptions{TTL: ttl, Telemetry: telemetry.Off()})
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	g, err := registrar.Register(t.Context(), discovery.Instance{
		Service: "orders", ID: os.Getenv(childID), Weight: 1, Addresses: map[string]string{"http": address},
	})
	if err == nil {
		err = g.Check(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("registered", address)
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent kills this process, or dies itself
}

// child is an instance in a process of its own.
type child struct {
	address string
	kill    func() // with SIGKILL
}

func newChild(t *testing.T, endpoint, id string) child {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.v")
	cmd.Env = append(os.Environ(), childEtcd+"="+endpoint, childID+"="+id)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil { // ends with this process
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := child{kill: func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}}
	t.Cleanup(c.kill)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if address, ok := strings.CutPrefix(lines.Text(), "registered "); ok {
			c.address = address
			return c
		}
	}
	t.Fatalf("instance %s has not registered", id)
	return c
}

// TestDeadInstances kills processes of fleets of three, two and one: dead instances are removed after their lease, and no request fails
// while one lives. The last one is removed after this process has failed to reach it.
func TestDeadInstances(t *testing.T) {
	t.Parallel()
	endpoint := testenv.Etcd(t).Endpoint()
	a := &arena{T: t, ttl: ttl}
	o := &ours{arena: a, open: func() *kv.Store {
		return kv.New(etcdkv.New(connect(t, []string{endpoint}), nil), &kv.Options{Telemetry: telemetry.Off()})
	}}
	var fleet []child
	for n := range 3 {
		fleet = append(fleet, newChild(t, endpoint, fmt.Sprint("i", n)))
	}
	o.start()
	left := func(want int, within time.Duration) {
		t.Helper()
		testenv.Eventually(t, within, fmt.Sprint(want, " instances are left"), func() error {
			if got := o.lookup(); len(got) != want {
				return fmt.Errorf("there are %v", got)
			}
			return nil
		})
	}
	left(3, ttl)
	for n := range 2 {
		clients := send(t.Context(), o)
		fleet[n].kill()
		left(2-n, 5*ttl) // etcd ends a lease late
		r := clients.stop()
		t.Logf("one of %d killed: %d requests, %d retries, %d failed", 3-n, r.requests, r.retries, r.failed)
		if r.failed > 0 || r.requests == 0 {
			t.Errorf("%d of %d requests failed", r.failed, r.requests)
		}
	}
	fleet[2].kill()
	testenv.Eventually(t, 5*ttl, "the last one is held", func() error {
		s, err := o.resolver.Lookup(t.Context(), "orders")
		if err == nil && s.Held == 0 { // the previous one may be held, too, if both have vanished within HoldWindow
			err = fmt.Errorf("there are %d instances, none of them held", len(s.Instances))
		}
		return err
	})
	clients := send(t.Context(), o)
	left(0, ttl)
	clients.stop()
}
