package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/control/discovery/readnodediscovery"
	"github.com/go-os/go-os/examples/internal/childtest"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/telemetry"
)

// built is the program, compiled once for all tests.
var built childtest.Program

func TestMain(m *testing.M) {
	code := testenv.Run(m)
	built.Remove()
	os.Exit(code)
}

// TestProgram registers an instance in etcd, finds it through the node, and stops the node.
func TestProgram(t *testing.T) {
	etcd := testenv.Etcd(t)
	program := childtest.Start(t, &built, nil, "-discovery", "etcd://"+etcd.Endpoint()+"?namespace=fleet", "-listen", "127.0.0.1:0")
	address := program.Await(`listening.* address=(\S+)`)[1]

	client, err := clientv3.New(clientv3.Config{Endpoints: []string{etcd.Endpoint()}, Logger: zap.NewNop(), DialTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	store := kv.New(etcdkv.New(client, nil), &kv.Options{Telemetry: telemetry.Off()})
	defer func() { _ = store.Close() }()
	registry, err := kvdiscovery.New(store.Namespace("fleet"), nil)
	if err != nil {
		t.Fatal(err)
	}
	registrar, err := discovery.NewRegistrar(registry, &discovery.RegistrarOptions{Telemetry: telemetry.Off()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = registrar.Close() }()
	if _, err := registrar.Register(t.Context(), discovery.Instance{Service: "orders", ID: "o1", Weight: 1, Addresses: map[string]string{"grpc": "10.0.0.7:9000"}}); err != nil {
		t.Fatal(err)
	}

	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	reader, err := readnodediscovery.New([]grpc.ClientConnInterface{conn}, nil)
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := discovery.NewResolver(reader, &discovery.ResolverOptions{Telemetry: telemetry.Off()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resolver.Close() }()
	orders, err := resolver.Lookup(t.Context(), "orders")
	if err != nil || len(orders.Instances) != 1 || orders.Instances[0].ID != "o1" {
		t.Fatalf("found %+v, %v", orders, err)
	}
	testenv.Eventually(t, 10*time.Second, "the node is healthy", func() error {
		answer, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
		if err == nil && answer.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			err = errors.New(answer.GetStatus().String())
		}
		return err
	})
	program.Terminate()
	if out := program.Wait(); !strings.Contains(out, "stopped") {
		t.Errorf("the program wrote\n%s", out)
	}
}

// TestFlags refuses invalid command lines, with an error that names the problem.
func TestFlags(t *testing.T) {
	for want, args := range map[string][]string{
		"no registry: set -discovery":         {},
		"-cert and -key go together":          {"-discovery", "etcd://x:1", "-cert", "a"},
		`unexpected argument "now"`:           {"-discovery", "etcd://x:1", "now"},
		"flag provided but not defined: -lst": {"-lst", "x"},
	} {
		if err := run(context.Background(), args); !errors.Is(err, errUsage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", args, err, want)
		}
	}
	for want, args := range map[string][]string{
		"etcd://host:port":  {"-discovery", "redis://x:1"},
		"-cert no-such.pem": {"-discovery", "etcd://x:1", "-cert", "no-such.pem", "-key", "k"},
	} {
		if err := run(context.Background(), args); err == nil || errors.Is(err, errUsage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", args, err, want)
		}
	}
	if err := run(context.Background(), []string{"-h"}); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-h: %v", err)
	}
}
