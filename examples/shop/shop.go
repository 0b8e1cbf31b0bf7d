package main

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/examples/shop/internal/show"
	"github.com/go-os/go-os/telemetry"
)

const (
	drainTime = 10 * time.Second // for requests in flight
	flushTime = 10 * time.Second // for telemetry, afterwards

	defaultThird = 10 * time.Second // of a run without an end: see disturb
)

// shop has the services that run in this process: all three or one of them, each in several instances.
type shop struct {
	flags    flags
	console  *console
	terminal *terminal
	recorder *show.Recorder
	rates    show.Rates
	registry *registry
	finder   *discovery.Resolver // for the customers and the screen; not observed
	services []*service          // callees before their callers
	tally    *tally              // of the instances of payments that run here
	load     *load               // nil unless the storefront runs here
	began    time.Time
}

// open starts the services, callees first, so that each finds the next one.
func open(ctx context.Context, f flags, c *console) (*shop, error) {
	s := &shop{flags: f, console: c, terminal: newTerminal(c), recorder: show.NewRecorder(), began: time.Now()}
	s.tally = &tally{console: c, states: func() map[string]string { return s.statesOf("payments") }}
	for _, open := range []func(context.Context) error{s.openRegistry, s.openPayments, s.openOrders, s.openStorefront} {
		if err := open(ctx); err != nil {
			return nil, errors.Join(err, s.drain(ctx), s.flush(ctx))
		}
	}
	return s, nil
}

func (s *shop) openRegistry(ctx context.Context) (err error) {
	if s.registry, err = openRegistry(ctx, s.flags.discovery); err != nil {
		return err
	}
	s.finder, err = s.registry.resolver(telemetry.Off())
	return err
}

func (s *shop) openPayments(ctx context.Context) error {
	if !s.flags.runs("payments") {
		return nil
	}
	svc, err := s.start(ctx, "payments")
	if err != nil {
		return err
	}
	p, err := newPayments(svc.pipeline)
	if err != nil {
		return err
	}
	err = s.launch(ctx, svc, "http", s.flags.payments, func(addr string) (string, error) {
		r := p.replicate(s.tally)
		url, err := svc.serveHTTP(addr, r.handler())
		s.tally.add(r, hostOf(url))
		return url, err
	})
	if err != nil {
		return err
	}
	return s.settle(ctx, svc, p)
}

// settle makes a payments service a candidate for leader of the settlement. The leader settles.
func (s *shop) settle(ctx context.Context, svc *service, p *payments) error {
	locks, err := openLocks(ctx, s.flags.sync, svc.pipeline.Providers())
	if err != nil {
		return err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx)) // the service runs until it is drained
	var group sync.WaitGroup
	svc.stop = append(svc.stop, locks.stopAfter(cancel, &group))
	nightly, err := newSettlement(svc.pipeline, locks.Session, s.flags.sync != "memory", s.flags.night, hostOf(svc.urls[0]))
	if err != nil {
		return err
	}
	p.settlement.Store(nightly)
	group.Go(func() { nightly.run(running) })
	return nil
}

func (s *shop) openOrders(ctx context.Context) error {
	if !s.flags.runs("orders") {
		return nil
	}
	svc, err := s.start(ctx, "orders")
	if err != nil {
		return err
	}
	cfg, err := s.configure(ctx, svc)
	if err != nil {
		return err
	}
	if s.flags.told("payments") {
		if err := svc.know(ctx, "payments", "http", s.flags.payments); err != nil {
			return err
		}
	}
	o, err := newOrders(svc.pipeline, svc.router, cfg)
	if err != nil {
		return err
	}
	err = s.launch(ctx, svc, "grpc", s.flags.orders, func(addr string) (string, error) { return svc.serveGRPC(addr, o.server()) })
	if err != nil {
		return err
	}
	_, err = svc.serveHTTP(s.flags.ordersMetrics, http.NotFoundHandler())
	return err
}

func (s *shop) openStorefront(ctx context.Context) error {
	if !s.flags.runs("storefront") {
		return nil
	}
	svc, err := s.start(ctx, "storefront")
	if err != nil {
		return err
	}
	cfg, err := s.configure(ctx, svc)
	if err != nil {
		return err
	}
	engine, err := openEngine(ctx, "carts", "-kv", s.flags.kv, svc.pipeline.Providers())
	if err != nil {
		return err
	}
	last := func(context.Context) error { return engine.Close() }
	carts, err := newCarts(engine.Store)
	if err != nil {
		return errors.Join(err, last(ctx))
	}
	if s.flags.told("orders") {
		if err := svc.know(ctx, "orders", "grpc", s.flags.orders); err != nil {
			return errors.Join(err, last(ctx))
		}
	}
	front, err := newStorefront(svc.pipeline, svc.resolver, svc.router, carts, cfg)
	if err != nil {
		return errors.Join(err, last(ctx))
	}
	err = s.launch(ctx, svc, "http", s.flags.storefront, func(addr string) (string, error) { return svc.serveHTTP(addr, front.handler()) })
	svc.stop = append(svc.stop, func(context.Context) error { return front.conn.Close() }, last)
	if err != nil {
		return err
	}
	s.load, err = newLoad(s.finder)
	return err
}

// serve runs the load until ctx ends, and returns when all requests have ended.
func (s *shop) serve(ctx context.Context) {
	s.began = time.Now()
	s.tally.begin()
	var running sync.WaitGroup
	running.Go(func() { s.disturb(ctx) })
	for _, service := range names {
		running.Go(func() { s.follow(ctx, service) })
	}
	if s.load == nil {
		<-ctx.Done()
		running.Wait()
		return
	}
	running.Go(func() { s.load.run(ctx, s.flags.rate) })
	ticker := time.NewTicker(s.console.every)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-ticker.C:
			s.console.progress("%3.0fs  %s", time.Since(s.began).Seconds(), s.load)
		}
	}
	running.Wait()
	s.load.client.CloseIdleConnections()
}

// disturb makes the last instance of payments slow or failing for the second third of the run, if the flags say so.
func (s *shop) disturb(ctx context.Context) {
	if s.flags.fault == "" {
		return
	}
	third := cmp.Or(s.flags.duration/3, defaultThird)
	victim := s.tally.last()
	for _, c := range []condition{condition(s.flags.fault), well} {
		select {
		case <-ctx.Done():
			return
		case <-time.After(third):
			s.tally.change(victim, c)
		}
	}
}

// drain stops the services, callers before callees, so that no request fails because a callee has stopped.
func (s *shop) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	var errs []error
	for i := len(s.services) - 1; i >= 0; i-- {
		errs = append(errs, s.services[i].drain(ctx))
	}
	return errors.Join(append(errs, s.closeRegistry())...)
}

func (s *shop) closeRegistry() error {
	var errs []error
	if s.finder != nil {
		errs = append(errs, s.finder.Close())
	}
	if s.registry != nil {
		errs = append(errs, s.registry.engine.Close())
	}
	return errors.Join(errs...)
}

// flush sends the queued telemetry. It runs last, so that the traces of draining requests are complete, and has its own timeout.
func (s *shop) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancel()
	errs := make([]error, len(s.services))
	var running sync.WaitGroup
	for i, svc := range s.services {
		running.Go(func() { errs[i] = svc.pipeline.Shutdown(ctx) })
	}
	running.Wait()
	return errors.Join(errs...)
}

// collector returns the address of the collector from the environment, or nothing.
func collector() string { return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") }
