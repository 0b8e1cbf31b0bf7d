package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/go-os/go-os/control/discovery"
)

// serve runs the server from its first request to its last.
func serve(ctx context.Context, registrar *discovery.Registrar, client *http.Client, address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	ready := &readiness{}
	server := &http.Server{Handler: newHandler(client, ready), ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	registration, err := register(ctx, registrar, listener)
	if err != nil {
		return errors.Join(err, server.Close())
	}
	ready.start(ctx, registration)

	select {
	case <-ctx.Done():
	case err = <-served: // the listener failed
	}
	return errors.Join(err, leave(context.WithoutCancel(ctx), registration, server))
}

func register(ctx context.Context, registrar *discovery.Registrar, listener net.Listener) (*discovery.Registration, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	address := listener.Addr().(*net.TCPAddr)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return registrar.Register(ctx, discovery.Instance{
		Service:   "storefront",
		ID:        fmt.Sprintf("%s-%d", host, address.Port),
		Version:   "1.4.0",
		Zone:      os.Getenv("ZONE"),
		Addresses: map[string]string{"http": address.String()},
	})
}

// readiness answers the readiness probe of the process.
type readiness struct {
	registration atomic.Pointer[discovery.Registration]
	once         atomic.Bool // it has been registered
}

// start gives the probe the registration of the process.
func (p *readiness) start(ctx context.Context, registration *discovery.Registration) {
	p.registration.Store(registration)
	if registration.Check(ctx) == nil {
		p.once.Store(true)
	}
}

func (p *readiness) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	registration := p.registration.Load()
	if registration == nil {
		http.Error(w, "starting", http.StatusServiceUnavailable)
		return
	}
	err := registration.Check(r.Context())
	if err == nil {
		p.once.Store(true)
	}
	away := errors.Is(err, discovery.ErrUnavailable) && p.once.Load() // others still know this instance
	if err != nil && !away {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

// leave stops the server without a failed request.
func leave(ctx context.Context, registration *discovery.Registration, server *http.Server) error {
	announce, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := registration.Drain(announce); err != nil {
		log.Print(err) // the registry is away
	}
	<-announce.Done() // until every reader has seen it, requests still arrive

	finish, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := server.Shutdown(finish) // returns after the last request
	_ = registration.Close()       // the goodbye; without one the lease ends
	return err
}
