package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/go-os/go-os/examples/shop/internal/show"
)

const (
	drainTime = 10 * time.Second // for requests in flight
	flushTime = 10 * time.Second // for telemetry, afterwards
)

// shop has the services that run in this process: all three, or one of them.
type shop struct {
	flags    flags
	console  *console
	terminal *terminal
	recorder *show.Recorder
	rates    show.Rates
	services []*service // callees before their callers
	load     *load      // nil unless the storefront runs here
	began    time.Time
}

// open starts the services, callees first, so that each knows the address of the next.
func open(ctx context.Context, f flags, c *console) (*shop, error) {
	s := &shop{flags: f, console: c, terminal: newTerminal(c), recorder: show.NewRecorder(), began: time.Now()}
	for _, open := range []func(context.Context) error{s.openPayments, s.openOrders, s.openStorefront} {
		if err := open(ctx); err != nil {
			return nil, errors.Join(err, s.drain(ctx), s.flush(ctx))
		}
	}
	return s, nil
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
	if svc.url, err = svc.serveHTTP(s.flags.payments, p.handler()); err != nil {
		return err
	}
	s.flags.payments = hostOf(svc.url)
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
	nightly, err := newSettlement(svc.pipeline, locks.Session, s.flags.sync != "memory", s.flags.night, s.flags.payments)
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
	o, err := newOrders(svc.pipeline, "http://"+s.flags.payments, cfg)
	if err != nil {
		return err
	}
	if svc.url, err = svc.serveGRPC(s.flags.orders, o.server()); err != nil {
		return err
	}
	s.flags.orders = svc.url
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
	front, err := newStorefront(svc.pipeline, s.flags.orders, carts, cfg)
	if err != nil {
		return errors.Join(err, last(ctx))
	}
	svc.url, err = svc.serveHTTP(s.flags.storefront, front.handler())
	svc.stop = append(svc.stop, func(context.Context) error { return front.conn.Close() }, last)
	s.load = &load{url: svc.url, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: maxInFlight}}}
	return err
}

// serve runs the load until ctx ends, and returns when all requests have ended.
func (s *shop) serve(ctx context.Context) {
	s.began = time.Now()
	if s.load == nil {
		<-ctx.Done()
		return
	}
	var running sync.WaitGroup
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

// drain stops the services, callers before callees, so that no request fails because a callee has stopped.
func (s *shop) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	var errs []error
	for i := len(s.services) - 1; i >= 0; i-- {
		errs = append(errs, s.services[i].drain(ctx))
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
