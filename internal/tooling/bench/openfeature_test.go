package bench

import (
	"context"
	"testing"

	"github.com/open-feature/go-sdk/openfeature"
	"github.com/open-feature/go-sdk/openfeature/memprovider"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/telemetry"
)

// TestOpenFeature lets a feature flag choose the arm of a split: the variant of the flag is Request.Arm. A variant that is no arm, and a flag
// that cannot be evaluated, leave the choice to the split.
func TestOpenFeature(t *testing.T) {
	flags := client(t)
	orders := splitOrders(t)
	ctx := context.Background()
	for customer, want := range map[string]string{"employee-1": "10.0.0.2:80", "customer-1": "10.0.0.1:80", "tester-1": "10.0.0.1:80"} {
		arm := flags.String(ctx, "orders-arm", "", openfeature.NewTargetlessEvaluationContext(map[string]any{"customer": customer}))
		p, err := orders.Pick(ctx, router.Request{Key: customer, Arm: arm})
		if err != nil {
			t.Fatal(err)
		}
		if p.Address() != want {
			t.Errorf("%s: the flag says %q, and the request goes to %s (arm %q), want %s", customer, arm, p.Address(), p.Arm(), want)
		}
		p.Done(router.Outcome{})
	}
}

// client returns an OpenFeature client with the flag "orders-arm": employees get the canary, and testers a variant that is no arm.
func client(t *testing.T) *openfeature.Client {
	t.Helper()
	choose := func(_ memprovider.InMemoryFlag, flat openfeature.FlattenedContext) (any, openfeature.ProviderResolutionDetail) {
		found := map[any]string{"employee-1": "canary", "tester-1": "retired"}
		return found[flat["customer"]], openfeature.ProviderResolutionDetail{Reason: openfeature.TargetingMatchReason}
	}
	provider := memprovider.NewInMemoryProvider(map[string]memprovider.InMemoryFlag{
		"orders-arm": {Key: "orders-arm", State: memprovider.Enabled, ContextEvaluator: &choose},
	})
	if err := openfeature.SetNamedProviderAndWait("bench", provider); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(openfeature.Shutdown)
	return openfeature.NewClient("bench")
}

// splitOrders returns a service with an instance of version 1 and one of version 2, and an arm for version 2 that gets no requests by
// itself.
func splitOrders(t *testing.T) *router.Service {
	t.Helper()
	instance := func(id, version, address string) discovery.Instance {
		return discovery.Instance{Service: "orders", ID: id, Version: version, Addresses: map[string]string{"http": address}}
	}
	registry, err := discovery.Static(instance("old", "1", "10.0.0.1:80"), instance("new", "2", "10.0.0.2:80"))
	if err != nil {
		t.Fatal(err)
	}
	found, err := discovery.NewResolver(registry, &discovery.ResolverOptions{Telemetry: telemetry.Off()})
	if err != nil {
		t.Fatal(err)
	}
	canary := router.Arm{Name: "canary", Percent: 0, Labels: map[string]string{"version": "2"}}
	r, err := router.New(found, &router.Options{
		Policies:  map[string]router.Policy{"orders": {Split: router.Split{Arms: []router.Arm{canary}}}},
		Telemetry: telemetry.Off(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), found.Close() })
	return r.Service("orders", "http")
}
