package discovery_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/telemetry/telemetrytest"
)

// TestHealth: the instances of a process that fails its own health check are seen as unhealthy, unless they drain.
func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		var verdict atomic.Pointer[func() error]
		say := func(do func() error) { verdict.Store(&do) }
		say(func() error { return nil })
		recorded := telemetrytest.New()
		registrar, err := discovery.NewRegistrar(f.registry(), &discovery.RegistrarOptions{
			Health: func(context.Context) error { return (*verdict.Load())() }, Telemetry: recorded.Providers,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer registrar.Close()
		g := f.register(registrar, 0)
		drained := f.register(registrar, 1)
		if err := drained.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		resolver := f.resolver()
		f.expect(resolver, " i0 i1(draining)")
		for name, ill := range map[string]func() error{
			"error": func() error { return errors.New("no database") },
			"panic": func() error { panic("no database") },
		} {
			say(ill)
			time.Sleep(2 * discovery.DefaultHealthInterval)
			f.expect(resolver, " i0(unhealthy) i1(draining)")
			if err := g.Check(t.Context()); err != nil {
				t.Errorf("%s: Check: %v, although it is registered", name, err)
			}
			if got := g.Instance().State; got != discovery.Up {
				t.Errorf("%s: Instance has the state %s, want that of the program", name, got)
			}
			say(func() error { return nil })
			time.Sleep(2 * discovery.DefaultHealthInterval)
			f.expect(resolver, " i0 i1(draining)")
		}
		if got := count(recorded.Events(), "goos.discovery.registration.unhealthy"); got != 2 {
			t.Errorf("%d events, want 2", got)
		}
	})
}

func count(events []telemetrytest.Event, name string) (n int) {
	for _, e := range events {
		if e.Name == name {
			n++
		}
	}
	return n
}

// TestMetrics checks the metrics while the registry answers, and while it is out of reach.
func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		cable, recorded := newCable(f.registry()), telemetrytest.New()
		registrar, err := discovery.NewRegistrar(cable, &discovery.RegistrarOptions{Telemetry: recorded.Providers})
		if err != nil {
			t.Fatal(err)
		}
		resolver, err := discovery.NewResolver(cable, &discovery.ResolverOptions{Telemetry: recorded.Providers})
		if err != nil {
			t.Fatal(err)
		}
		f.register(registrar, 0)
		if err := f.register(registrar, 1).Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.expect(resolver, " i0 i1(draining)")
		expectPoints(t, recorded, map[string]float64{
			"snapshot.age service=orders":                   0,
			"instances service=orders,state=up":             1,
			"instances service=orders,state=draining":       1,
			"instances service=orders,state=held":           0,
			"registrations service=orders,state=registered": 2,
		})
		cable.unplug()
		time.Sleep(time.Minute)
		expectPoints(t, recorded, map[string]float64{
			"snapshot.age service=orders":                60,
			"instances service=orders,state=up":          1,
			"registrations service=orders,state=pending": 2,
			"lease.losses error.type=unavailable":        1,
		})
		if restarts := points(t, recorded)["watch.restarts reason=unavailable"]; restarts < 10 {
			t.Errorf("%v restarts of the watch in a minute", restarts)
		}
		for _, c := range []func() error{registrar.Close, resolver.Close} {
			if err := c(); err != nil {
				t.Error(err)
			}
		}
		for name := range points(t, recorded) {
			if name == "snapshot.age service=orders" || name == "registrations service=orders,state=pending" {
				t.Errorf("%s is reported after Close", name)
			}
		}
	})
}

func expectPoints(t *testing.T, r *telemetrytest.Recorder, want map[string]float64) {
	t.Helper()
	got := points(t, r)
	for name, value := range want {
		if there, ok := got[name]; !ok || there != value {
			t.Errorf("%s is %v (%v), want %v", name, there, ok, value)
		}
	}
}

// points returns the values by name and attributes, without prefixes and the system.
func points(t *testing.T, r *telemetrytest.Recorder) map[string]float64 {
	t.Helper()
	all, err := r.Points(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, p := range all {
		text, sep := "", " "
		for _, kv := range p.Attributes.ToSlice() {
			if kv.Key != "goos.discovery.system" {
				text += fmt.Sprint(sep, trimmed(string(kv.Key)), "=", kv.Value.String())
				sep = ","
			}
		}
		values[trimmed(p.Name)+text] = p.Value
	}
	return values
}

func trimmed(name string) string {
	const prefix = "goos.discovery."
	if len(name) > len(prefix) && name[:len(prefix)] == prefix {
		return name[len(prefix):]
	}
	return name
}
