package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

// runHTTP serves and makes requests over loopback, with every instrument on: answered, refused, failed, panicking with and without a route,
// timed out, abandoned, with an unknown method, and to an address without a server.
func runHTTP(ctx context.Context, r *record) error {
	p := r.providers()
	mux := http.NewServeMux()
	mux.HandleFunc("/users/{id}", func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(w, req.Body)
	})
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "out of stock", http.StatusInternalServerError)
	})
	mux.HandleFunc("POST /panic", func(http.ResponseWriter, *http.Request) { panic("bug") })
	arrived := make(chan struct{}, 16)
	mux.HandleFunc("POST /slow", func(_ http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body) // net/http notices that a client has left once the body is read
		arrived <- struct{}{}
		<-req.Context().Done()
	})

	served := make(chan struct{}, 16)
	options := oshttp.HandlerOptions{
		Telemetry: p,
		Metrics:   oshttp.MetricDuration | oshttp.MetricActiveRequests | oshttp.MetricRequestBodySize | oshttp.MetricResponseBodySize,
	}
	patient, stop, err := serveCounted(mux, options, served)
	if err != nil {
		return err
	}
	defer stop()
	options.Timeout = 20 * time.Millisecond
	url, stop, err := serveCounted(mux, options, served)
	if err != nil {
		return err
	}
	defer stop()
	lost, stop, err := serveCounted(nil, options, served) // a nil handler panics before a router has named the route
	if err != nil {
		return err
	}
	defer stop()

	base := &http.Transport{}
	defer base.CloseIdleConnections()
	client := &http.Client{Transport: oshttp.NewTransport(base, &oshttp.TransportOptions{
		Telemetry: p,
		Metrics:   oshttp.MetricDuration | oshttp.MetricActiveRequests,
		Template:  func(req *http.Request) string { return "/{thing}" },
	})}
	for _, target := range []string{url + "/users/7?verbose=1", url + "/orders", url + "/panic", url + "/slow", url + "/nowhere", lost} {
		post(ctx, client, target, "hello")
		<-served
	}
	<-arrived // the request that timed out
	leaving, leave := context.WithCancel(ctx)
	go func() { <-arrived; leave() }()
	post(leaving, client, patient+"/slow", "hello")
	<-served
	if req, err := http.NewRequestWithContext(ctx, "FROB", url+"/users/7", nil); err == nil {
		if resp, err := client.Do(req); err == nil {
			_ = resp.Body.Close()
		}
		<-served
	}
	post(ctx, client, "http://127.0.0.1:1/nobody", "hello")
	return callService(ctx, p, mux)
}

// callService makes a request to a service with two instances, one of which is another service by now.
func callService(ctx context.Context, p telemetry.Providers, mux http.Handler) error {
	orders, stop, err := serve(oshttp.NewHandler(mux, &oshttp.HandlerOptions{Telemetry: p, Services: []string{"orders"}}))
	if err != nil {
		return err
	}
	defer stop()
	payments, stop, err := serve(oshttp.NewHandler(mux, &oshttp.HandlerOptions{Telemetry: p, Services: []string{"payments"}}))
	if err != nil {
		return err
	}
	defer stop()
	var instances []discovery.Instance
	for id, url := range map[string]string{"a": orders, "b": payments} {
		address := map[string]string{"http": strings.TrimPrefix(url, "http://")}
		instances = append(instances, discovery.Instance{Service: "orders", ID: id, Version: "2", Addresses: address, Weight: 1})
	}
	registry, err := discovery.Static(instances...)
	if err != nil {
		return err
	}
	resolver, err := discovery.NewResolver(registry, &discovery.ResolverOptions{Telemetry: telemetry.Off()})
	if err != nil {
		return err
	}
	defer func() { _ = resolver.Close() }()
	return errors.Join(callThrough(ctx, p, resolver, nil), callRouted(ctx, p, resolver))
}

// callRouted does the same through a Router with a split.
func callRouted(ctx context.Context, p telemetry.Providers, resolver *discovery.Resolver) error {
	policy := router.Policy{
		Balance: router.Balance{Algorithm: router.RoundRobin}, // two requests meet both instances
		Split:   router.Split{Arms: []router.Arm{{Name: "canary", Percent: 100, Labels: map[string]string{"version": "2"}}}},
	}
	r, err := router.New(resolver, &router.Options{Policies: map[string]router.Policy{"orders": policy}, Telemetry: telemetry.Off()})
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	return callThrough(ctx, p, resolver, r)
}

// callThrough makes two requests to a service: there are two instances.
func callThrough(ctx context.Context, p telemetry.Providers, resolver *discovery.Resolver, r *router.Router) error {
	services, err := oshttp.NewServices(resolver, &oshttp.ServicesOptions{Names: []string{"orders"}, Router: r, Telemetry: p})
	if err != nil {
		return err
	}
	defer services.CloseIdleConnections()
	client := &http.Client{Transport: oshttp.NewTransport(services, &oshttp.TransportOptions{
		Telemetry: p,
		Template:  func(*http.Request) string { return "/{thing}" },
	})}
	for range 2 {
		post(ctx, client, "http://orders/users/7", "hello")
	}
	return nil
}

// serveCounted serves next through the middleware, and reports each served request.
func serveCounted(next http.Handler, options oshttp.HandlerOptions, served chan<- struct{}) (url string, stop func(), err error) {
	handler := oshttp.NewHandler(next, &options)
	return serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		defer func() { served <- struct{}{} }()
		handler.ServeHTTP(w, req)
	}))
}
