// Command grpc is the service of docs/guides/grpc.md: orders over gRPC, with Go OS added.
package main

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/go-os/go-os/examples/shop/ordersv1"
	"github.com/go-os/go-os/exporters"
	"github.com/go-os/go-os/middleware/osgrpc"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	calls, err := net.Listen("tcp", "127.0.0.1:7002")
	if err != nil {
		log.Fatal("orders: ", err)
	}
	pages, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		log.Fatal("orders: ", err)
	}
	if err := run(ctx, calls, pages); err != nil {
		log.Fatal("orders: ", err)
	}
}

// run serves calls on one listener and /metrics on another, until ctx ends.
func run(ctx context.Context, calls, pages net.Listener) error {
	pipeline, err := exporters.Setup(ctx, &exporters.Options{ServiceName: "orders"})
	if err != nil {
		return err
	}
	options := osgrpc.ServerOptions(&osgrpc.Options{AccessLog: true, Timeout: 5 * time.Second})
	server := grpc.NewServer(append(options, grpc.MaxRecvMsgSize(1<<20))...) // ours before your own
	ordersv1.RegisterOrdersServer(server, orders{})

	mux := http.NewServeMux()
	mux.Handle("GET /metrics", pipeline.MetricsHandler())
	metrics := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 2)
	go func() { served <- server.Serve(calls) }()
	go func() { served <- metrics.Serve(pages) }()

	select {
	case <-ctx.Done():
	case err = <-served: // a listener failed
	}
	cut := time.AfterFunc(10*time.Second, server.Stop) // for calls that take longer
	server.GracefulStop()                              // calls first
	cut.Stop()
	err = errors.Join(err, metrics.Close())           // then the page
	_ = pipeline.Shutdown(context.WithoutCancel(ctx)) // telemetry last; the log says what is lost
	return err
}

// orders is the existing service.
type orders struct {
	ordersv1.UnimplementedOrdersServer
}

// Place implements ordersv1.OrdersServer.
func (orders) Place(ctx context.Context, r *ordersv1.PlaceRequest) (*ordersv1.PlaceResponse, error) {
	slog.InfoContext(ctx, "placing an order", "product", r.GetProduct())
	return &ordersv1.PlaceResponse{Order: "1", Total: int64(r.GetQuantity()) * 250}, nil
}

// dial returns a client of orders.
func dial(target string) (*grpc.ClientConn, error) {
	options := osgrpc.DialOptions(&osgrpc.Options{DefaultTimeout: 2 * time.Second})
	return grpc.NewClient(target, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
}
