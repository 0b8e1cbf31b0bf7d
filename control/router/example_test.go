package router_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"go.opentelemetry.io/otel/baggage"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
)

// open returns a Router for fixed instances of orders, with one policy. A service has a resolver of its registry.
func open(policy router.Policy, instances ...discovery.Instance) *router.Router {
	registry, err := discovery.Static(instances...)
	if err != nil {
		log.Fatal(err)
	}
	resolver, err := discovery.NewResolver(registry, nil)
	if err != nil {
		log.Fatal(err)
	}
	r, err := router.New(resolver, &router.Options{Policies: map[string]router.Policy{"orders": policy}})
	if err != nil {
		log.Fatal(err)
	}
	return r
}

// instance returns an instance of orders for open.
func instance(id, address, version string, labels map[string]string) discovery.Instance {
	return discovery.Instance{
		Service: "orders", ID: id, Version: version, Labels: labels, Addresses: map[string]string{"http": address},
	}
}

// Pick an instance, send the request to it, and record the outcome. HTTP and gRPC clients need none of this: oshttp and osgrpc do it.
func Example() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "one lamp") }))
	defer server.Close()
	r := open(router.Policy{}, instance("orders-1", server.Listener.Addr().String(), "1.0", nil))
	defer r.Close()

	pick, err := r.Service("orders", "http").Pick(context.Background(), router.Request{Method: "/orders/{id}"})
	if err != nil {
		log.Fatal(err)
	}
	res, err := http.Get("http://" + pick.Address() + "/orders/7")
	if err != nil {
		pick.Done(router.FromHTTP(nil, err))
		log.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	pick.Done(router.FromHTTP(res, err))
	fmt.Printf("%s: %s\n", pick.Endpoint().ID(), body)
	// Output:
	// orders-1: one lamp
}

// Do repeats an attempt that failed, at another instance. One of these two is dead; the caller does not notice.
func ExampleDo() {
	r := open(router.Policy{}, instance("orders-1", "10.0.0.1:80", "1.0", nil), instance("orders-2", "10.0.0.2:80", "1.0", nil))
	defer r.Close()
	send := func(ctx context.Context, a *router.Attempt) (string, router.Outcome) {
		pick, err := a.Pick(ctx)
		if err != nil {
			return "", router.Outcome{Kind: router.Neutral, Err: err, Final: true}
		}
		if pick.Endpoint().ID() == "orders-1" {
			return "", router.Outcome{Kind: router.GatewayFault, Err: errors.New("connection refused"), Unsent: true}
		}
		return "one lamp", router.Outcome{}
	}

	for range 3 {
		answer, outcome := router.Do(context.Background(), r.Service("orders", "http"), router.Request{}, send, nil)
		fmt.Println(answer, outcome.Err)
	}
	// Output:
	// one lamp <nil>
	// one lamp <nil>
	// one lamp <nil>
}

// A policy is checked as a whole before it takes effect. If it is invalid, the present one stays in force.
func ExampleRouter_SetPolicies() {
	r := open(router.Policy{Retry: router.Retry{Attempts: 2}})
	defer r.Close()
	err := r.SetPolicies(map[string]router.Policy{"orders": {
		Balance: router.Balance{Algorithm: "fastest"},
		Retry:   router.Retry{Attempts: 9},
	}})
	fmt.Println(err)
	fmt.Println("attempts:", r.Policy("orders").Retry.Attempts)
	// Output:
	// router: policy "orders": invalid: balance.algorithm: "fastest": use one of auto, peak_ewma, prequal, least_request, weighted, round_robin, consistent_hash; invalid: retry.attempts: 9: use 1 to 3
	// attempts: 2
}

// A canary grows from 5 to 10 percent of the customers. Those that were in it stay in it.
func ExampleSplit() {
	canary := func(percent float64) router.Policy {
		return router.Policy{Split: router.Split{Arms: []router.Arm{
			{Name: "canary", Percent: percent, Labels: map[string]string{"version": "2.0"}},
		}}}
	}
	r := open(canary(5), instance("old", "10.0.0.1:80", "1.0", nil), instance("new", "10.0.0.2:80", "2.0", nil))
	defer r.Close()
	orders := r.Service("orders", "http")
	inCanary := func() map[string]bool {
		members := map[string]bool{}
		for n := range 10_000 {
			customer := fmt.Sprint("customer-", n)
			pick, err := orders.Pick(context.Background(), router.Request{Key: customer})
			if err != nil {
				log.Fatal(err)
			}
			if pick.Endpoint().ID() == "new" {
				members[customer] = true
			}
			pick.Done(router.Outcome{})
		}
		return members
	}

	before := inCanary()
	if err := r.SetPolicies(map[string]router.Policy{"orders": canary(10)}); err != nil {
		log.Fatal(err)
	}
	after := inCanary()
	left := 0
	for customer := range before {
		if !after[customer] {
			left++
		}
	}
	fmt.Printf("%.0f %%, then %.0f %% of the customers; %d left the canary\n", float64(len(before))/100, float64(len(after))/100, left)
	// Output:
	// 5 %, then 10 % of the customers; 0 left the canary
}

// Requests of a tenant go to the instances with its label. Requests of others go to those that are shared.
func ExampleLabels() {
	r := open(router.Policy{Labels: router.Labels{
		Allow: []string{"tenant"}, Fallback: router.FallbackDefault, Default: map[string]string{"tenant": "shared"},
	}},
		instance("orders-acme", "10.0.0.1:80", "1.0", map[string]string{"tenant": "acme"}),
		instance("orders-shared", "10.0.0.2:80", "1.0", map[string]string{"tenant": "shared"}))
	defer r.Close()
	allowed, err := router.NewAllowlist("tenant")
	if err != nil {
		log.Fatal(err)
	}

	for _, header := range []http.Header{
		{"X-Micro-Label-Tenant": {"acme"}},
		{"X-Micro-Label-Tenant": {"globex"}, "X-Micro-Label-Admin": {"true"}}, // admin is not allowed
	} {
		labels, _ := allowed.Labels(header, baggage.Baggage{})
		ctx := router.WithLabels(context.Background(), labels)
		pick, err := r.Service("orders", "http").Pick(ctx, router.Request{})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(labels, pick.Endpoint().ID())
		pick.Done(router.Outcome{})
	}
	// Output:
	// map[tenant:acme] orders-acme
	// map[tenant:globex] orders-shared
}

// A limit rejects a request before it is sent.
func ExampleLimits() {
	r := open(router.Policy{Limits: router.Limits{Concurrent: 1}}, instance("orders-1", "10.0.0.1:80", "1.0", nil))
	defer r.Close()
	orders := r.Service("orders", "http")
	first, err := orders.Pick(context.Background(), router.Request{})
	if err != nil {
		log.Fatal(err)
	}
	_, err = orders.Pick(context.Background(), router.Request{})
	fmt.Println(errors.Is(err, router.ErrRejected), err)
	first.Done(router.Outcome{})
	_, err = orders.Pick(context.Background(), router.Request{})
	fmt.Println(err)
	// Output:
	// true router: pick "orders": over the limit: rejected by the client
	// <nil>
}

// The status explains why an instance gets no requests. Five faults in a row have ejected this one.
func ExampleService_Status() {
	r := open(router.Policy{Balance: router.Balance{Algorithm: router.RoundRobin}},
		instance("orders-1", "10.0.0.1:80", "1.0", nil), instance("orders-2", "10.0.0.2:80", "1.0", nil))
	defer r.Close()
	orders := r.Service("orders", "http")
	for range 10 {
		pick, err := orders.Pick(context.Background(), router.Request{})
		if err != nil {
			log.Fatal(err)
		}
		outcome := router.Outcome{}
		if pick.Endpoint().ID() == "orders-2" {
			outcome = router.Outcome{Kind: router.GatewayFault, Err: errors.New("connection refused")}
		}
		pick.Done(outcome)
	}
	for _, e := range orders.Status().Endpoints {
		fmt.Println(strings.TrimSpace(fmt.Sprintln(e.ID, e.State, e.Reason)))
	}
	// Output:
	// orders-1 available
	// orders-2 ejected consecutive_faults
}
