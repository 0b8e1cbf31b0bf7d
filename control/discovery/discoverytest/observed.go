package discoverytest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/internal/tooling/suite"
)

func observed() []promise {
	return []promise{
		{Name: "telemetry/registrar", Needs: Writes, Check: observedRegistrar},
		{Name: "telemetry/resolver", Needs: Reads, Hook: "Put and Remove", Together: true, Check: observedResolver},
		{Name: "telemetry/conflict", Needs: Writes | Incarnations, Check: observedConflict},
	}
}

func observedRegistrar(r *rig) {
	service := r.service("observed")
	registrar := r.registrar(r.Providers)
	g := r.registered(registrar, instance(service, "secret-id"))
	_, _ = registrar.Register(r.context(), instance(service, "secret-id"))
	_, _ = registrar.Register(r.context(), driver.Instance{Service: service, ID: "b"})
	r.is(g.Drain(r.context()), nil, "Drain")
	r.is(g.Close(), nil, "Close")
	_ = g.Drain(r.context())
	_ = registrar.Close()
	_, _ = registrar.Register(r.context(), instance(service, "secret-id"))
	r.spans(service, "deregister", "register", "register closed", "register invalid", "register invalid", "update", "update closed")
	r.counted(map[string]int64{
		"register": 1, "register closed": 1, "register invalid": 2, "update": 1, "update closed": 1, "deregister": 1,
	})
}

func observedResolver(r *rig) {
	service := r.service("observed")
	resolver := r.resolver(r.Providers)
	one := instance(service, "secret-id")
	r.put(one)
	r.put(instance(service, "b"))
	r.looksUp(resolver, service, instance(service, "b"), one)
	_, _ = resolver.Lookup(r.context(), service) // reads memory, and has no span
	if _, err := resolver.Lookup(r.context(), r.service("nobody")); !errors.Is(err, discovery.ErrNotFound) {
		r.Errorf("Lookup of an unknown service: %v, want ErrNotFound", err)
	}
	_, _ = resolver.Lookup(r.context(), "a/b")
	r.emits("goos.discovery.instance.appeared", service, "secret-id")
	one.State = driver.Draining
	if r.Shown(driver.Record{Instance: one}).State == driver.Draining {
		r.put(one)
		r.emits("goos.discovery.instance.draining", service, "secret-id")
	}
	r.Remove(r, service, "secret-id")
	r.emits("goos.discovery.instance.vanished", service, "secret-id")
	r.is(resolver.Close(), nil, "Close")
	_, _ = resolver.Lookup(r.context(), service)
	r.spans("", "lookup", "lookup closed", "lookup invalid", "lookup not_found")
	r.counted(map[string]int64{"lookup": 1, "lookup closed": 1, "lookup invalid": 1, "lookup not_found": 1})
}

func observedConflict(r *rig) {
	service := r.service("observed")
	r.registered(r.registrar(r.Providers), instance(service, "a"))
	r.registered(r.registrar(r.Providers), instance(service, "a"))
	r.emits("goos.discovery.registration.superseded", service, "a")
}

// emits waits for an event about an instance.
func (r *rig) emits(name, service, id string) {
	r.Helper()
	want := map[string]string{"goos.discovery.system": r.caps.System, "goos.discovery.service": service, "goos.discovery.instance": id}
	r.eventually("the event "+name, func() error {
		var others []string
		for _, e := range r.Events() {
			if e.Name == name && about(e.Attributes, want) {
				return nil
			}
			others = append(others, fmt.Sprint(e.Name, " ", e.Attributes))
		}
		return fmt.Errorf("there is none with %v among %q", want, others)
	})
}

// about reports whether an event has these attributes.
func about(attributes map[string]any, want map[string]string) bool {
	for key, value := range want {
		if got, _ := attributes[key].(string); got != value {
			return false
		}
	}
	return true
}

// spans fails the test unless these spans have ended, by operation and error.type, sorted. All are about the service, unless it is empty.
func (r *rig) spans(service string, want ...string) {
	r.Helper()
	var got []string
	for _, span := range r.Spans() {
		op, _ := span.Attributes["goos.discovery.operation"].(string)
		if span.Name != op && !strings.HasPrefix(span.Name, op+" ") {
			r.Errorf("the span of %s is named %q", op, span.Name)
		}
		if kind, ok := span.Attributes["error.type"].(string); ok {
			op += " " + kind
		}
		if about, _ := span.Attributes["goos.discovery.service"].(string); service != "" && about != service {
			r.Errorf("the span %q has goos.discovery.service = %q, want %q", span.Name, about, service)
		}
		if system, _ := span.Attributes["goos.discovery.system"].(string); system != r.caps.System {
			r.Errorf("the span %q has goos.discovery.system = %q, want %q", span.Name, system, r.caps.System)
		}
		got = append(got, op)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		r.Errorf("spans %q, want %q", got, want)
	}
}

// counted fails the test unless the duration histogram has these calls, by operation and error.type, and no other. Instances stay off metrics.
func (r *rig) counted(want map[string]int64) {
	r.Helper()
	got := suite.Points(r, r.Recorder)
	for name, n := range want {
		op, kind, failed := strings.Cut(name, " ")
		point := "goos.discovery.operation.duration s "
		if failed {
			point += "error.type=" + kind + ","
		}
		point += "goos.discovery.operation=" + op + ",goos.discovery.system=" + r.caps.System
		if got[point] != n {
			r.Errorf("%s counted %d calls, want %d", point, got[point], n)
		}
		delete(got, point)
	}
	for point := range got {
		if strings.HasPrefix(point, "goos.discovery.operation.duration") {
			r.Errorf("the duration has another series: %s", point)
		}
		if strings.Contains(point, "secret") {
			r.Errorf("an instance is in the metrics: %s", point)
		}
	}
}
