package oshttp_test

import (
	"testing"

	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/telemetry"
)

// route lets the clients of the fleet choose instances by a Router with a policy.
func (f *fleet) route(p router.Policy) *router.Router {
	f.Helper()
	r, err := router.New(f.resolver, &router.Options{Policies: map[string]router.Policy{"*": p}, Telemetry: telemetry.Off()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = r.Close() })
	f.router = r
	return r
}

// TestThroughARouter has the tests of Services that hold with a Router too: newFleet makes one for it.
func TestThroughARouter(t *testing.T) {
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"drained", TestDrainedUnderLoad},
		{"address reused", TestAddressReused},
		{"all misdirected", TestAllMisdirected},
		{"relayed refusal", TestRelayedRefusal},
		{"repeats", TestRepeats},
		{"body closed", TestBodyClosed},
		{"TLS", TestTLS},
		{"failed handshake", TestFailedHandshake},
		{"HTTP/2", TestHTTP2OfTheBase},
		{"no proxy", TestNoProxy},
		{"redirect", TestRedirectToAService},
		{"upgrade", TestUpgradeOfAService},
		{"forwarded names", TestForwardedNames},
		{"only services", TestOnlyServices},
		{"service telemetry", TestServiceTelemetry},
		{"transport per request", TestTransportPerRequest},
	} {
		t.Run(test.name, test.run)
	}
}
