// Command readnode is a read node: it follows services in a registry, each once, and streams them to clients over gRPC.
//
//	go run ./examples/readnode -discovery 'etcd://127.0.0.1:2379?namespace=services' -listen 127.0.0.1:7600
//
// Run two or more. A client takes the addresses of all of them: see package readnodediscovery. The health of the node is served under
// grpc.health.v1 on the same port: it serves while the registry is in reach.
//
// SIGTERM ends the streams, and the clients move to another node.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/control/discovery/readnode"
	"github.com/go-os/go-os/examples/internal/commandline"
	"github.com/go-os/go-os/examples/internal/engine"
	"github.com/go-os/go-os/exporters"
)

func main() {
	commandline.Main(run, func(err error) { fmt.Fprintln(os.Stderr, "readnode:", err) })
}

var errUsage = commandline.ErrUsage

// flags are the flags of the command line.
type flags struct {
	discovery, listen, cert, key string
	options                      readnode.Options
}

func parse(args []string) (flags, error) {
	var f flags
	set := flag.NewFlagSet("readnode", flag.ContinueOnError)
	set.StringVar(&f.discovery, "discovery", "", "the registry: etcd://host:port or consul://host:port, with ?namespace= of the services; required")
	set.StringVar(&f.listen, "listen", "127.0.0.1:7600", "host:port for clients")
	set.StringVar(&f.cert, "cert", "", "file with the certificate of the node, in PEM; without it connections are not encrypted")
	set.StringVar(&f.key, "key", "", "file with the key of -cert, in PEM")
	set.IntVar(&f.options.History, "history", readnode.DefaultHistory, "changes of a service that are kept for clients that reconnect")
	set.DurationVar(&f.options.Heartbeat, "heartbeat", readnode.DefaultHeartbeat, "how often node and client send something")
	set.IntVar(&f.options.MaxServices, "max-services", readnode.DefaultMaxServices, "services that one client may follow")
	set.Usage = func() {
		fmt.Fprint(set.Output(), "Follows services in a registry, and streams them to clients.\n\n  readnode -discovery URL [-listen host:port]\n\n")
		set.PrintDefaults()
	}
	if err := set.Parse(args); err != nil {
		return f, commandline.Usage(err)
	}
	switch {
	case set.NArg() > 0:
		return f, fmt.Errorf("unexpected argument %q: %w", set.Arg(0), errUsage)
	case f.discovery == "":
		return f, fmt.Errorf("no registry: set -discovery: %w", errUsage)
	case (f.cert == "") != (f.key == ""):
		return f, fmt.Errorf("-cert and -key go together: %w", errUsage)
	}
	return f, nil
}

func run(ctx context.Context, args []string) error {
	f, err := parse(args)
	if err != nil {
		return err
	}
	var options []grpc.ServerOption
	if f.cert != "" {
		c, err := credentials.NewServerTLSFromFile(f.cert, f.key)
		if err != nil {
			return fmt.Errorf("-cert %s, -key %s: %w", f.cert, f.key, err)
		}
		options = append(options, grpc.Creds(c))
	}
	pipeline, err := exporters.Setup(ctx, &exporters.Options{ServiceName: "readnode"})
	if err != nil {
		return err
	}
	f.options.Telemetry = pipeline.Providers()
	err = f.serve(ctx, options)
	_ = pipeline.Shutdown(context.WithoutCancel(ctx)) // the log reports lost telemetry
	return err
}

// serve serves clients until ctx ends.
func (f flags) serve(ctx context.Context, options []grpc.ServerOption) error {
	store, err := engine.Open(ctx, f.discovery, engine.Options{Flag: "-discovery", Schemes: []string{"etcd", "consul"}})
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	registry, err := kvdiscovery.New(store.Store, nil)
	if err != nil {
		return err
	}
	node, err := readnode.New(registry, &f.options)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", f.listen)
	if err != nil {
		return errors.Join(fmt.Errorf("-listen %s: %w", f.listen, err), node.Close())
	}
	server, checks := grpc.NewServer(options...), health.NewServer()
	node.Register(server)
	healthpb.RegisterHealthServer(server, checks)
	go report(ctx, node, checks)
	slog.Info("listening", "address", listener.Addr().String(), "registry", registry.System())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err = <-ended:
		err = errors.Join(err, node.Close())
	case <-ctx.Done():
		checks.Shutdown()
		err = node.Close()                                      // clients move to another node
		defer time.AfterFunc(5*time.Second, server.Stop).Stop() // clients that do not read
		server.GracefulStop()
		slog.Info("stopped")
	}
	return err
}

// report keeps the health of the node up to date until ctx ends.
func report(ctx context.Context, node *readnode.Node, checks *health.Server) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for ctx.Err() == nil {
		status := healthpb.HealthCheckResponse_SERVING
		if node.Check(ctx) != nil {
			status = healthpb.HealthCheckResponse_NOT_SERVING
		}
		checks.SetServingStatus("", status)
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}
