package dnsdiscovery_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/dnsdiscovery"
	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/telemetry"
)

func TestMain(m *testing.M) { os.Exit(testenv.Run(m)) }

// patience is for conditions that a busy machine delays.
const patience = 20 * time.Second

var (
	srv      = map[string]dnsdiscovery.Protocol{"grpc": {}}
	headless = map[string]dnsdiscovery.Protocol{"grpc": {Port: 9000}}
)

// options returns options for the zone "example." with short times.
func options(protocols map[string]dnsdiscovery.Protocol, servers ...string) *dnsdiscovery.Options {
	return &dnsdiscovery.Options{
		Servers: servers, Domain: "example", Protocols: protocols,
		MinTTL: 50 * time.Millisecond, MaxTTL: 200 * time.Millisecond, Timeout: 500 * time.Millisecond,
	}
}

// resolve returns a Resolver on DNS.
func resolve(t *testing.T, o *dnsdiscovery.Options) *discovery.Resolver {
	t.Helper()
	registry, err := dnsdiscovery.New(o)
	if err != nil {
		t.Fatal(err)
	}
	r, err := discovery.NewResolver(registry, &discovery.ResolverOptions{Telemetry: telemetry.Off()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// lookup returns the instances of the service orders as text: "ID=address*weight", with /priority if there is one.
func lookup(t *testing.T, r *discovery.Resolver) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := r.Lookup(ctx, "orders")
	if err != nil {
		return "", err
	}
	var all []string
	for _, i := range s.Instances {
		addresses := strings.Join(slices.Sorted(maps.Values(i.Addresses)), ",")
		text := fmt.Sprintf("%s=%s*%d", i.ID, addresses, i.Weight)
		if p, ok := i.Labels[dnsdiscovery.LabelPriority]; ok {
			text += "/" + p
		}
		all = append(all, text)
	}
	return strings.Join(all, " "), nil
}

// expect waits until the service has these instances.
func expect(t *testing.T, r *discovery.Resolver, want string) {
	t.Helper()
	testenv.Eventually(t, patience, "the instances", func() error {
		got, err := lookup(t, r)
		if err == nil && got != want {
			err = fmt.Errorf("got %s\nwant %s", got, want)
		}
		return err
	})
}

// status returns the Resolver's state of the service orders.
func status(r *discovery.Resolver) discovery.Status {
	for _, s := range r.Status() {
		return s
	}
	return discovery.Status{}
}

// lost waits until the Resolver reports DNS as out of reach, with a reason that contains why.
func lost(t *testing.T, r *discovery.Resolver, why string) {
	t.Helper()
	testenv.Eventually(t, patience, "a lost watch", func() error {
		if s := status(r); s.Age == 0 || s.Err == nil || !strings.Contains(s.Err.Error(), why) {
			return fmt.Errorf("age %s, error %v, want %q", s.Age, s.Err, why)
		}
		return nil
	})
}

// found waits until DNS is in reach.
func found(t *testing.T, r *discovery.Resolver) {
	t.Helper()
	testenv.Eventually(t, patience, "a watch in place", func() error {
		if s := status(r); s.Age != 0 {
			return fmt.Errorf("age %s: %w", s.Age, s.Err)
		}
		return nil
	})
}

func TestSRV(t *testing.T) {
	t.Parallel()
	dns := testenv.DNS(t, "example.", `
_grpc._tcp.orders SRV 10 60 9000 a
_grpc._tcp.orders SRV 10 0  9001 A
_grpc._tcp.orders SRV 20 5  9000 b
_grpc._tcp.orders SRV 30 7  9000 b
a A 10.0.0.1
b A 10.0.0.2`)
	r := resolve(t, options(srv, dns.Addr(0)))
	// The lowest priority takes the requests. A weight of 0 is a small one. The record with priority 30 is a duplicate.
	expect(t, r, "a.example:9000=10.0.0.1:9000*60/10 a.example:9001=10.0.0.1:9001*1/10 b.example:9000=10.0.0.2:9000*0/20")

	dns.SetZone(`
_grpc._tcp.orders SRV 10 60 9000 a
_grpc._tcp.orders SRV 20 5  9000 b
a A 10.0.0.9
a A 10.0.0.8
b A 10.0.0.2`)
	expect(t, r, "a.example:9000=10.0.0.8:9000*60/10 b.example:9000=10.0.0.2:9000*0/20")

	dns.SetZone("_grpc._tcp.orders SRV 20 5 9000 b\nb A 10.0.0.2")
	expect(t, resolve(t, options(srv, dns.Addr(0))), "b.example:9000=10.0.0.2:9000*5/20") // r holds the others
	testenv.Eventually(t, patience, "held instances", func() error {
		if held := status(r).Held; len(held) != 2 {
			return fmt.Errorf("held: %q", held)
		}
		return nil
	})
}

func TestHeadless(t *testing.T) {
	t.Parallel()
	dns := testenv.DNS(t, "example.", "orders A 10.0.0.1\norders A 10.0.0.2\norders AAAA fd00::1\n_both._tcp.orders SRV 0 0 9000 six\nsix AAAA fd00::6")
	expect(t, resolve(t, options(headless, dns.Addr(0))), "10.0.0.1=10.0.0.1:9000*1 10.0.0.2=10.0.0.2:9000*1")

	two := options(map[string]dnsdiscovery.Protocol{"grpc": {Port: 9000}, "http": {Port: 8080}}, dns.Addr(0))
	two.Network = "ip6"
	expect(t, resolve(t, two), "fd00::1=[fd00::1]:8080,[fd00::1]:9000*1")

	six := options(map[string]dnsdiscovery.Protocol{"grpc": {Name: "_both._tcp.{service}.example."}}, dns.Addr(0))
	expect(t, resolve(t, six), "six.example:9000=[fd00::6]:9000*1/0")

	six.Network = "ip4"
	if got, err := lookup(t, resolve(t, six)); got != "" || err != nil {
		t.Errorf("a target without an IPv4 address: got %q, %v", got, err)
	}
}

// TestTruncated: answers that do not fit into a packet are sent over TCP.
func TestTruncated(t *testing.T) {
	t.Parallel()
	const n = 200
	var zone strings.Builder
	for i := range n {
		fmt.Fprintf(&zone, "orders A 10.0.1.%d\n_grpc._tcp.orders SRV 0 1 9000 host-%d\nhost-%d A 10.0.2.%d\n", i, i, i, i)
	}
	dns := testenv.DNS(t, "example.", zone.String())
	for _, protocols := range []map[string]dnsdiscovery.Protocol{headless, srv} {
		r := resolve(t, options(protocols, dns.Addr(0)))
		testenv.Eventually(t, patience, "all addresses", func() error {
			s, err := r.Lookup(t.Context(), "orders")
			if err == nil && len(s.Instances) != n {
				err = fmt.Errorf("%d instances, want %d", len(s.Instances), n)
			}
			return err
		})
	}
}

func TestAliases(t *testing.T) {
	t.Parallel()
	dns := testenv.DNS(t, "example.", `
orders CNAME blue
blue CNAME green
green A 10.0.0.1
_grpc._tcp.orders CNAME _grpc._tcp.green
_grpc._tcp.green SRV 0 1 9000 orders`)
	expect(t, resolve(t, options(headless, dns.Addr(0))), "10.0.0.1=10.0.0.1:9000*1")
	expect(t, resolve(t, options(srv, dns.Addr(0))), "orders.example:9000=10.0.0.1:9000*1/0")
}

// TestOutages: while the server is killed, silent, without the zone or with an empty one, the last instances stay.
func TestOutages(t *testing.T) {
	t.Parallel()
	const zone, instances = "_grpc._tcp.orders SRV 0 1 9000 a\na A 10.0.0.1", "a.example:9000=10.0.0.1:9000*1/0"
	dns := testenv.DNS(t, "example.", zone)
	r := resolve(t, options(srv, dns.Addr(0)))
	expect(t, r, instances)
	for _, c := range []struct {
		fault       string
		begin, end  func()
		why         string
		unavailable bool
	}{
		{"killed", dns.Kill, dns.Restart, "connection refused", true},
		{"silent", dns.Pause, dns.Resume, "no answer within", true},
		{"zone dropped", dns.DropZone, func() { dns.SetZone(zone) }, "Refused", false},
		{"zone emptied", func() { dns.SetZone("") }, func() { dns.SetZone(zone) }, "does not exist (NXDOMAIN)", true},
		{"record removed", func() { dns.SetZone("_grpc._tcp.orders TXT -") }, func() { dns.SetZone(zone) }, "no such records", true},
	} {
		c.begin()
		lost(t, r, c.why)
		if s := status(r); errors.Is(s.Err, discovery.ErrUnavailable) != c.unavailable || errors.Is(s.Err, discovery.ErrDenied) == c.unavailable {
			t.Errorf("%s: the class of %v is wrong", c.fault, s.Err)
		}
		if got, err := lookup(t, r); got != instances || err != nil {
			t.Errorf("%s: got %q, %v", c.fault, got, err)
		}
		c.end()
		found(t, r)
		expect(t, r, instances)
	}
	dns.Kill()
	lost(t, r, "connection refused")
	dns.Restart()
	dns.SetZone("_grpc._tcp.orders SRV 0 1 9000 a\na A 10.0.0.2")
	expect(t, r, "a.example:9000=10.0.0.2:9000*1/0") // and the watch continues
}

// TestKeep: a name that does not exist keeps its instances for Options.Keep. Then they are gone, and not held.
func TestKeep(t *testing.T) {
	t.Parallel()
	dns := testenv.DNS(t, "example.", "orders A 10.0.0.1\norders A 10.0.0.2")
	o := options(headless, dns.Addr(0))
	o.Keep = 2 * time.Second
	r := resolve(t, o)
	expect(t, r, "10.0.0.1=10.0.0.1:9000*1 10.0.0.2=10.0.0.2:9000*1")
	dns.SetZone("")
	lost(t, r, "its instances stay for 2s")
	began := time.Now()
	expect(t, r, "")
	if took := time.Since(began); took < time.Second {
		t.Errorf("the instances were gone after %s, want 2s", took)
	}
	found(t, r)
	dns.SetZone("orders A 10.0.0.3")
	expect(t, r, "10.0.0.3=10.0.0.3:9000*1")
}

// TestUnavailable: the target "." and the port 0 mean explicitly that there is no instance.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	const zone, instances = "_grpc._tcp.orders SRV 0 1 9000 a\na A 10.0.0.1", "a.example:9000=10.0.0.1:9000*1/0"
	for _, none := range []string{"_grpc._tcp.orders SRV 0 0 0 .", "_grpc._tcp.orders SRV 0 1 0 a\na A 10.0.0.1"} {
		dns := testenv.DNS(t, "example.", zone)
		r := resolve(t, options(srv, dns.Addr(0)))
		expect(t, r, instances)
		dns.SetZone(none)
		expect(t, r, "")
		found(t, r)
		expect(t, resolve(t, options(srv, dns.Addr(0))), "") // known, and empty
		dns.SetZone(zone)
		expect(t, r, instances)
	}
}

// TestUnknown: a service unknown to DNS differs from one without instances.
func TestUnknown(t *testing.T) {
	t.Parallel()
	dns := testenv.DNS(t, "example.", "")
	r := resolve(t, options(srv, dns.Addr(0)))
	if _, err := lookup(t, r); !errors.Is(err, discovery.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	dns.SetZone("_grpc._tcp.orders SRV 0 1 9000 a\na A 10.0.0.1")
	expect(t, r, "a.example:9000=10.0.0.1:9000*1/0")
}

// TestTargets: a target that cannot be used costs only itself, and is used once it can be.
func TestTargets(t *testing.T) {
	t.Parallel()
	const records = "_grpc._tcp.orders SRV 0 1 9000 a\n_grpc._tcp.orders SRV 0 1 9000 b\n_grpc._tcp.orders SRV 0 1 9000 c\na A 10.0.0.1\n"
	const first = "a.example:9000=10.0.0.1:9000*1/0"
	dns := testenv.DNS(t, "example.", records+`c A 0.0.0.0
_grpc._tcp.orders SRV 0 1 9000 sp\032ace
sp\032ace A 10.0.0.4`)
	r := resolve(t, options(srv, dns.Addr(0)))
	expect(t, r, first)
	found(t, r)
	invalid := status(r).Invalid
	for id, want := range map[string]string{
		"b.example:9000":      "the target b.example. does not resolve",
		"c.example:9000":      "not that of a host",
		"sp ace.example:9000": "not the name of a host",
	} {
		if err := invalid[id]; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", id, err, want)
		}
	}
	if len(invalid) != 3 {
		t.Errorf("%d invalid records: %v", len(invalid), invalid)
	}

	dns.SetZone(records + "b A 10.0.0.2\nc A 10.0.0.3")
	all := first + " b.example:9000=10.0.0.2:9000*1/0 c.example:9000=10.0.0.3:9000*1/0"
	expect(t, r, all)
	testenv.Eventually(t, patience, "no invalid record", func() error {
		if invalid := status(r).Invalid; len(invalid) > 0 {
			return fmt.Errorf("%v", invalid)
		}
		return nil
	})

	dns.SetZone(records + "c A 10.0.0.3") // b keeps its address
	testenv.Eventually(t, patience, "an invalid record", func() error {
		if err := status(r).Invalid["b.example:9000"]; err == nil {
			return errors.New("there is none")
		}
		return nil
	})
	expect(t, r, all)
}

// TestParts: a protocol with a failed question keeps its instances; another one follows DNS.
func TestParts(t *testing.T) {
	t.Parallel()
	dns := testenv.DNS(t, "example.", "orders A 10.0.0.1")
	o := options(map[string]dnsdiscovery.Protocol{"grpc": {Port: 9000}, "http": {Name: "{service}.elsewhere", Port: 80}}, dns.Addr(0))
	r := resolve(t, o)
	testenv.Eventually(t, patience, "the part that answers", func() error { // elsewhere. is refused
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s, err := r.Lookup(ctx, "orders")
		if err == nil && len(s.Instances) != 1 {
			err = fmt.Errorf("%d instances", len(s.Instances))
		}
		return err
	})
	lost(t, r, "orders.elsewhere. A: ")
	dns.SetZone("orders A 10.0.0.1\norders A 10.0.0.2")
	expect(t, r, "10.0.0.1=10.0.0.1:9000*1 10.0.0.2=10.0.0.2:9000*1")
}

// TestServers: of several servers, one may be dead and another one silent.
func TestServers(t *testing.T) {
	t.Parallel()
	const zone, instances = "orders A 10.0.0.1", "10.0.0.1=10.0.0.1:9000*1"
	dead, silent, good := testenv.DNS(t, "example.", zone), testenv.DNS(t, "example.", zone), testenv.DNS(t, "example.", zone)
	dead.Kill()
	silent.Pause()
	asked, slow := relay(t, silent.Addr(0))
	o := options(headless, dead.Addr(0), slow, good.Addr(0))
	r := resolve(t, o)
	expect(t, r, instances)
	found(t, r)

	// The server that answered is queried first from now on: no question waits for the silent one.
	before := asked.Load()
	good.SetZone("orders A 10.0.0.2\norders A 10.0.0.1")
	expect(t, r, instances+" 10.0.0.2=10.0.0.2:9000*1")
	if n := asked.Load(); n != before {
		t.Errorf("%d more questions to the silent server", n-before)
	}

	good.Kill()
	silent.Resume()
	expect(t, r, instances) // the instance 10.0.0.2 has vanished
	found(t, r)
}

// TestRefresh: a question is repeated when its TTL has passed, and not before.
func TestRefresh(t *testing.T) {
	t.Parallel()
	dns := testenv.DNS(t, "example.", "orders 2 A 10.0.0.1")
	asked, front := relay(t, dns.Addr(0))
	o := options(headless, front)
	o.MaxTTL = time.Minute
	r := resolve(t, o)
	expect(t, r, "10.0.0.1=10.0.0.1:9000*1")
	time.Sleep(3 * time.Second) // the test expects that nothing happens
	if n := asked.Load(); n != 2 {
		t.Errorf("%d questions in 3s about a record with a TTL of 2s, want 2", n)
	}
	o.MinTTL = time.Minute
	o.MaxTTL = 0
	asked.Store(0)
	r = resolve(t, o)
	expect(t, r, "10.0.0.1=10.0.0.1:9000*1")
	dns.SetZone("orders 2 A 10.0.0.2")
	time.Sleep(2500 * time.Millisecond) // likewise
	if got, err := lookup(t, r); got != "10.0.0.1=10.0.0.1:9000*1" || err != nil {
		t.Errorf("the change was seen before MinTTL: got %q, %v", got, err)
	}
}

// relay passes packets on to a server, and counts the questions.
func relay(t *testing.T, server string) (asked *atomic.Int64, address string) {
	t.Helper()
	front, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = front.Close() })
	asked = &atomic.Int64{}
	go func() {
		buffer := make([]byte, 1<<16)
		for {
			n, from, err := front.ReadFrom(buffer)
			if err != nil {
				return
			}
			asked.Add(1)
			back, err := net.Dial("udp", server)
			if err != nil {
				continue
			}
			_ = back.SetDeadline(time.Now().Add(time.Second))
			_, _ = back.Write(buffer[:n])
			if n, err = back.Read(buffer); err == nil {
				_, _ = front.WriteTo(buffer[:n], from)
			}
			_ = back.Close()
		}
	}()
	return asked, front.LocalAddr().String()
}

// TestColdStart: without an answer from DNS the first Lookup waits, and succeeds as soon as DNS answers.
func TestColdStart(t *testing.T) {
	t.Parallel()
	dns := testenv.DNS(t, "example.", "orders A 10.0.0.1")
	dns.Kill()
	r := resolve(t, options(headless, dns.Addr(0)))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := r.Lookup(ctx, "orders"); !errors.Is(err, discovery.ErrUnavailable) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got %v, want ErrUnavailable and the reason", err)
	}
	dns.Restart()
	expect(t, r, "10.0.0.1=10.0.0.1:9000*1")
}

// TestResolvConf: the servers of a resolv.conf are read again before each round.
func TestResolvConf(t *testing.T) {
	t.Parallel()
	o := options(headless)
	o.ResolvConf = filepath.Join(t.TempDir(), "resolv.conf")
	r := resolve(t, o)
	reason := func(want string) {
		t.Helper()
		testenv.Eventually(t, patience, "a reason", func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if _, err := r.Lookup(ctx, "orders"); err == nil || !strings.Contains(err.Error(), want) {
				return fmt.Errorf("got %v, want %s", err, want)
			}
			return nil
		})
	}
	reason("set Options.Servers")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(o.ResolvConf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("search example\nnameserver\nnameserver no-address\n# nameserver 10.0.0.1\n")
	reason("names no server")
	write("nameserver ::ffff:127.0.0.1\noptions ndots:5\nnameserver 127.0.0.1\n") // no server listens on port 53 here
	reason("127.0.0.1:53: ")
}

func TestOptions(t *testing.T) {
	t.Parallel()
	good := func() dnsdiscovery.Options { return *options(headless, "127.0.0.1:53") }
	if _, err := dnsdiscovery.New(new(good())); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*dnsdiscovery.Options){
		"no protocol: set Options.Protocols":                          func(o *dnsdiscovery.Options) { o.Protocols = nil },
		`Options.Network is "udp": use`:                               func(o *dnsdiscovery.Options) { o.Network = "udp" },
		`server "dns.example:53": use an IP address`:                  func(o *dnsdiscovery.Options) { o.Servers = []string{"dns.example:53"} },
		`server "10.0.0.1": use an IP address`:                        func(o *dnsdiscovery.Options) { o.Servers = []string{"10.0.0.1"} },
		`server "10.0.0.1:0": use an IP address`:                      func(o *dnsdiscovery.Options) { o.Servers = []string{"10.0.0.1:0"} },
		`protocol "grpc": no name: set Options.Domain`:                func(o *dnsdiscovery.Options) { o.Domain = "" },
		`protocol "grpc": port 65536: use 1 to 65535`:                 func(o *dnsdiscovery.Options) { o.Protocols = map[string]dnsdiscovery.Protocol{"grpc": {Port: 65536}} },
		"a protocol has no name":                                      func(o *dnsdiscovery.Options) { o.Protocols = map[string]dnsdiscovery.Protocol{"": {Port: 1}} },
		`protocol "grpc": invalid: "x.exa..mple." is not a DNS name`:  func(o *dnsdiscovery.Options) { o.Domain = "exa..mple" },
		"dnsdiscovery.Options.MinTTL is -1ns: give a positive value":  func(o *dnsdiscovery.Options) { o.MinTTL = -1 },
		"dnsdiscovery.Options.MaxTTL is -1ns: give a positive value":  func(o *dnsdiscovery.Options) { o.MaxTTL = -1 },
		"dnsdiscovery.Options.Timeout is -1ns: give a positive value": func(o *dnsdiscovery.Options) { o.Timeout = -1 },
		"dnsdiscovery.Options.Keep is -1ns: give a positive value":    func(o *dnsdiscovery.Options) { o.Keep = -1 },
		"Options.MaxTTL is 1ns: use at least MinTTL, 50ms":            func(o *dnsdiscovery.Options) { o.MaxTTL = 1 },
	} {
		o := good()
		spoil(&o)
		if _, err := dnsdiscovery.New(&o); !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := dnsdiscovery.New(nil); !errors.Is(err, driver.ErrInvalid) {
		t.Errorf("no options: got %v, want ErrInvalid", err)
	}
}

// TestServiceNames: a service that cannot be part of a DNS name is an error that a retry does not fix.
func TestServiceNames(t *testing.T) {
	t.Parallel()
	registry, err := dnsdiscovery.New(options(headless, "127.0.0.1:53"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{strings.Repeat("x", 64), "a..b", strings.Repeat("x.", 126) + "x"} {
		if err := registry.Watch(t.Context(), name, nil); !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
}
