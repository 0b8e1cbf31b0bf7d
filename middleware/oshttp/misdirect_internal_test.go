package oshttp

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/telemetry"
)

// TestRefusalOfOneThatLeft forgets the refusal of an instance that has left: later requests share one table.
func TestRefusalOfOneThatLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here := discovery.Instance{Service: "orders", ID: "here", Weight: 1, Addresses: map[string]string{"http": "127.0.0.1:1"}}
		static, err := discovery.Static(here)
		if err != nil {
			t.Fatal(err)
		}
		resolver, err := discovery.NewResolver(static, &discovery.ResolverOptions{Telemetry: telemetry.Off()})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resolver.Close() }()
		services, err := NewServices(resolver, &ServicesOptions{Names: []string{"orders"}, Telemetry: telemetry.Off()})
		if err != nil {
			t.Fatal(err)
		}
		r := services.route("orders", "http")
		left := newInstance(r, "left", "127.0.0.1:2")
		left.record.Store(&discovery.Instance{Service: "orders", ID: "left"})
		r.refuse(t.Context(), left)
		time.Sleep(misdirection + time.Second)
		first, err := r.table(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		second, err := r.table(t.Context())
		if err != nil || first != second {
			t.Errorf("a request without a change made the table anew (%v)", err)
		}
		if n := len(r.refusals); n != 0 {
			t.Errorf("%d refusals are kept", n)
		}
	})
}
