// Package storefront has the programs of docs/guides/router.md. The service storefront calls payments over HTTP and prices over gRPC.
package storefront

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/control/router/statistics"
	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/middleware/oshttp"
)

// newClient returns an HTTP client to which payments is the name of a service.
func newClient(resolver *discovery.Resolver, r *router.Router) (*http.Client, error) {
	services, err := oshttp.NewServices(resolver, &oshttp.ServicesOptions{Names: []string{"payments"}, Router: r})
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: oshttp.NewTransport(services, nil)}, nil
}

// newConn returns a connection to the service prices.
func newConn(resolver *discovery.Resolver, r *router.Router) (*grpc.ClientConn, error) {
	options := append(osgrpc.DialOptions(nil), osgrpc.WithDiscovery(resolver, &osgrpc.DiscoveryOptions{Router: r})...)
	options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
	return grpc.NewClient("os:///prices", options...)
}

// newKeyedConn returns a connection to the service prices, whose calls for one customer stay together.
func newKeyedConn(resolver *discovery.Resolver, r *router.Router, customerOf func(context.Context) string) (*grpc.ClientConn, error) {
	options := osgrpc.WithDiscovery(resolver, &osgrpc.DiscoveryOptions{
		Router: r,
		Request: func(ctx context.Context, fullMethod string, request *router.Request) {
			request.Key = customerOf(ctx)
			request.Idempotent = request.Idempotent || fullMethod == "/grpc.health.v1.Health/Check"
		},
	})
	options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
	return grpc.NewClient("os:///prices", options...)
}

// Config is the configuration of the storefront.
type Config struct {
	Routes map[string]router.Policy // by service; "*" is for all others
}

// newRouter returns a Router whose policies follow a file.
func newRouter(ctx context.Context, resolver *discovery.Resolver, path string) (*router.Router, error) {
	cfg, err := config.Load[Config](ctx, &config.Options{Sources: []config.Source{config.Required(config.File(path, nil))}})
	if err != nil {
		return nil, err
	}
	r, err := router.New(resolver, &router.Options{Policies: cfg.Get().Routes, Zone: os.Getenv("ZONE")})
	if err != nil {
		return nil, err
	}
	_, err = cfg.OnChange("routes", func(_, next *Config) {
		if err := r.SetPolicies(next.Routes); err != nil {
			log.Print(err)
		}
	})
	if err != nil {
		return nil, err
	}
	go cfg.Run(ctx)
	return r, nil
}

// newCountedRouter returns a Router whose counts go to a publisher, and the function that publishes the rest.
func newCountedRouter(resolver *discovery.Resolver, p statistics.Publisher) (*router.Router, func(context.Context) error, error) {
	collector, err := statistics.NewCollector(p, &statistics.Options{Client: "storefront-1"})
	if err != nil {
		return nil, nil, err
	}
	r, err := router.New(resolver, &router.Options{Statistics: collector})
	return r, collector.Shutdown, err
}

// newDebugHandler returns a page for operators, which shows the state of the routes.
func newDebugHandler(r *router.Router) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/routes", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(r.Status()); err != nil {
			log.Print(err)
		}
	})
	mux.HandleFunc("GET /debug/endpoints", func(w http.ResponseWriter, _ *http.Request) {
		for _, route := range r.Status() {
			for _, e := range route.Endpoints {
				fmt.Fprintf(w, "%s %s: %s %s, weight %.2f, %d in flight, latency %v\n",
					route.Service, e.ID, e.State, e.Reason, e.Weight, e.InFlight, e.Latency)
			}
		}
	})
	return mux
}
