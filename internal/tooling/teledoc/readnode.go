package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/control/discovery/readnode"
	"github.com/go-os/go-os/control/discovery/readnodediscovery"
)

// script is a registry that emits events on request.
type script struct {
	driver.Reader
	events chan driver.Event
}

func (*script) System() string { return "etcd" }
func (*script) Close() error   { return nil }

func (s *script) Watch(ctx context.Context, _ string, emit func(driver.Event) error) error {
	for {
		select {
		case e := <-s.events:
			if err := emit(e); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *script) send(kinds ...driver.EventKind) {
	for _, kind := range kinds {
		instance := driver.Instance{Service: "orders", ID: "i1", Addresses: map[string]string{"grpc": "10.0.0.7:9000"}}
		s.events <- driver.Event{Kind: kind, Err: driver.ErrUnavailable, Record: driver.Record{Instance: instance}}
	}
}

// runReadNode serves a client that resumes and is refused a second service, while the registry is lost and comes back.
func runReadNode(ctx context.Context, r *record) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	s := &script{events: make(chan driver.Event, 16)}
	node, err := readnode.New(s, &readnode.Options{MaxServices: 1, Telemetry: r.providers()})
	if err != nil {
		return err
	}
	defer func() { _ = node.Close() }()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := listener.Addr().String()
	first := serveNode(node, listener)
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	reader, err := readnodediscovery.New([]grpc.ClientConnInterface{conn}, nil)
	if err != nil {
		return err
	}
	defer func() { _ = reader.Close() }()
	s.send(driver.EventResync, driver.EventPut, driver.EventSynced)
	return watchNode(ctx, reader, func() error {
		s.send(driver.EventLost, driver.EventResync, driver.EventPut, driver.EventSynced)
		first.Stop()
		again, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		serveNode(node, again)
		return nil
	})
}

func serveNode(node *readnode.Node, listener net.Listener) *grpc.Server {
	server := grpc.NewServer()
	node.Register(server)
	go func() { _ = server.Serve(listener) }()
	return server
}

// errDone ends a watch.
var errDone = errors.New("done")

// watchNode follows a service until it has resumed, and another one until it is refused.
func watchNode(ctx context.Context, reader *readnodediscovery.Reader, loaded func() error) error {
	synced, lost := 0, 0
	err := reader.Watch(ctx, "orders", func(e driver.Event) error {
		switch e.Kind {
		case driver.EventSynced:
			if synced++; synced == 1 {
				return loaded()
			}
			if reader.Status().Connections < 2 {
				return nil
			}
			refused := reader.Watch(ctx, "payments", func(e driver.Event) error { return errDone })
			return errors.Join(errDone, refused)
		case driver.EventLost:
			lost++
		}
		return nil
	})
	if !errors.Is(err, errDone) {
		return fmt.Errorf("%d times in sync, %d times lost: %w", synced, lost, err)
	}
	return nil
}
