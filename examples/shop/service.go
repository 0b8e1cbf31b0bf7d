package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/exporters"
)

// service is one running service: its instances, its pipeline and its shutdown.
type service struct {
	name     string
	pipeline *exporters.Pipeline
	urls     []string // where its callers reach its instances
	metrics  string   // where Prometheus reaches it
	stamp    *stamp
	stop     []func(context.Context) error // each drains one listener

	registrar     *discovery.Registrar
	registrations []*discovery.Registration // of the instances
	resolver      *discovery.Resolver       // finds the services that it calls
	router        *router.Router            // chooses their instances; nil if it calls none
}

// start creates a service with its own pipeline. The services share one process, so KeepGlobals avoids process-wide providers, and every
// constructor takes a pipeline.
func (s *shop) start(ctx context.Context, name string) (*service, error) {
	mark := &stamp{}
	pipeline, err := exporters.Setup(ctx, &exporters.Options{
		ServiceName:      name,
		ServiceNamespace: "shop",
		KeepGlobals:      true,
		LogWriter:        io.Discard, // a line for every order would hide the rest: the terminal shows a selection
		Sinks:            []slog.Handler{s.terminal, s.recorder.Sink(name)},
		SpanProcessors:   []sdktrace.SpanProcessor{mark, s.recorder},
		MetricReaders:    []sdkmetric.Reader{s.rates.Reader()},
		Environ:          slices.DeleteFunc(os.Environ(), isServiceName),
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	svc := &service{name: name, pipeline: pipeline, stamp: mark}
	s.services = append(s.services, svc)
	return svc, svc.join(s.registry)
}

// launch starts the instances of a service: the first one at the given address, the others on free ports beside it.
func (s *shop) launch(ctx context.Context, svc *service, protocol, addr string, serve func(addr string) (url string, err error)) error {
	for n := range s.flags.instances {
		if n == 1 {
			addr = besides(addr)
		}
		url, err := serve(addr)
		if err != nil {
			return err
		}
		if err := svc.register(ctx, protocol, hostOf(url)); err != nil {
			return err
		}
		svc.urls = append(svc.urls, url)
	}
	return nil
}

// besides returns the address of a free port on the host of another address.
func besides(addr string) string {
	host, _, _ := net.SplitHostPort(addr) // the listener has accepted it
	return net.JoinHostPort(host, "0")
}

// isServiceName reports whether an environment entry is the variable that would give all three services the same name.
func isServiceName(kv string) bool { return strings.HasPrefix(kv, "OTEL_SERVICE_NAME=") }

// serveHTTP serves a handler, /metrics and /routes, and returns the URL. These pages are not instrumented, since a scraper would fill the
// traces.
func (s *service) serveHTTP(addr string, handler http.Handler) (string, error) {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.pipeline.MetricsHandler())
	if s.router != nil {
		mux.HandleFunc("GET /routes", s.showRoutes)
	}
	mux.Handle("/", handler)
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return "", fmt.Errorf("%s: %w", s.name, err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	s.stop = append(s.stop, func(ctx context.Context) error {
		err := server.Shutdown(ctx)
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	})
	url := "http://" + listener.Addr().String()
	s.metrics = cmp.Or(s.metrics, url+"/metrics")
	return url, nil
}

// serveGRPC serves a gRPC server and returns its address.
func (s *service) serveGRPC(addr string, server *grpc.Server) (string, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return "", fmt.Errorf("%s: %w", s.name, err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	s.stop = append(s.stop, func(ctx context.Context) error {
		drained := context.AfterFunc(ctx, server.Stop) // cancels requests that take longer
		defer drained()
		server.GracefulStop()
		return <-done
	})
	return listener.Addr().String(), nil
}

// drain announces that the instances leave, waits for every accepted request, and closes the listeners.
func (s *service) drain(ctx context.Context) error {
	var errs []error
	for _, stop := range append(append([]func(context.Context) error{s.leave}, s.stop...), s.goodbye) {
		if err := stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
		}
	}
	return errors.Join(errs...)
}
