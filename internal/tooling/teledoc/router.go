package main

import (
	"context"
	"errors"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/telemetry"
)

// runRouter routes requests to endpoints that fail, recover and refuse, under a policy that changes.
func runRouter(ctx context.Context, r *record) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	registry, err := discovery.Static(
		discovery.Instance{Service: "orders", ID: "a", Addresses: map[string]string{"http": "10.0.0.1:80"}},
		discovery.Instance{Service: "orders", ID: "b", Addresses: map[string]string{"http": "10.0.0.2:80"}},
		discovery.Instance{Service: "orders", ID: "c", Addresses: map[string]string{"http": "10.0.0.3:80"}},
		discovery.Instance{Service: "spare", ID: "s", Addresses: map[string]string{"http": "10.0.0.4:80"}},
	)
	if err != nil {
		return err
	}
	resolver, err := discovery.NewResolver(registry, &discovery.ResolverOptions{Telemetry: telemetry.Off()})
	if err != nil {
		return err
	}
	defer func() { _ = resolver.Close() }()
	routes, err := router.New(resolver, &router.Options{Telemetry: r.providers(), Policies: map[string]router.Policy{"orders": {
		Balance:  router.Balance{Algorithm: router.Prequal},
		Ejection: router.Ejection{Base: 50 * time.Millisecond, Interval: 20 * time.Millisecond, MaxShare: 1, Panic: 1},
		Fallback: "spare",
		Hedge:    router.Hedge{After: time.Millisecond},
	}}})
	if err != nil {
		return err
	}
	defer func() { _ = routes.Close() }()
	run := routerRun{router: routes, service: routes.Service("orders", "http")}
	run.service.SetProber(run)
	return errors.Join(run.requests(ctx), run.ejection(ctx), run.breaker(ctx), r.collect(ctx))
}

type routerRun struct {
	router  *router.Router
	service *router.Service
}

// Probe implements router.Prober: one endpoint answers, one fails, one knows no probes.
func (routerRun) Probe(_ context.Context, e *router.Endpoint) (router.Load, error) {
	switch e.ID() {
	case "a":
		return router.Load{Known: true}, nil
	case "b":
		return router.Load{}, errDemo
	}
	return router.Load{}, errors.ErrUnsupported
}

// once sends a request that may be repeated, with this outcome of all its attempts.
func (r routerRun) once(ctx context.Context, o router.Outcome, wait time.Duration) {
	router.Do(ctx, r.service, router.Request{Idempotent: true, Hedgeable: true}, func(ctx context.Context, a *router.Attempt) (int, router.Outcome) {
		if _, err := a.Pick(ctx); err != nil {
			return 0, router.Outcome{Kind: router.Neutral, Err: err, Final: true}
		}
		time.Sleep(wait)
		return 0, o
	}, nil)
}

// requests has outcomes of all kinds, hedges, a retry and a fallback.
func (r routerRun) requests(ctx context.Context) error {
	for kind := router.Success; kind <= router.Neutral; kind++ {
		r.once(ctx, router.Outcome{Kind: kind, Unsent: kind == router.GatewayFault}, 0)
	}
	r.once(ctx, router.Outcome{}, 10*time.Millisecond)
	return nil
}

// ejection ejects an endpoint, and waits for its return.
func (r routerRun) ejection(ctx context.Context) error {
	a := r.service.Endpoint("a", "10.0.0.1:80")
	for range 5 {
		a.Connected(errDemo)
	}
	in := func(state string) func() bool {
		return func() bool {
			_, _ = r.service.Endpoints()
			return r.service.Status().Endpoints[0].State == state
		}
	}
	return errors.Join(until(ctx, in("ejected")), until(ctx, in("available")))
}

// breaker opens the breaker of a new policy.
func (r routerRun) breaker(ctx context.Context) error {
	if err := r.router.SetPolicies(map[string]router.Policy{"orders": {Breaker: router.Breaker{MinRequests: 1}}}); err != nil {
		return err
	}
	for range 2 {
		r.once(ctx, router.Outcome{Kind: router.Fault}, 0)
	}
	return nil
}
