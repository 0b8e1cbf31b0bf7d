package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/examples/shop/ordersv1"
	"github.com/go-os/go-os/exporters"
	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry/trace"
)

// storefront serves customers over HTTP: product pages, carts and orders.
type storefront struct {
	pipeline *exporters.Pipeline
	tracer   *trace.Tracer
	conn     *grpc.ClientConn
	orders   ordersv1.OrdersClient
	carts    *carts
	settings *config.Config[settings]
}

// order is the body of POST /orders.
type order struct {
	Product  string `json:"product"`
	Quantity int32  `json:"quantity"`
	Card     string `json:"card"`
}

func newStorefront(p *exporters.Pipeline, resolver *discovery.Resolver, routes *router.Router, c *carts, cfg *config.Config[settings]) (*storefront, error) {
	options := append(osgrpc.DialOptions(&osgrpc.Options{Telemetry: p.Providers()}),
		osgrpc.WithDiscovery(resolver, &osgrpc.DiscoveryOptions{Router: routes, Telemetry: p.Providers()})...)
	conn, err := grpc.NewClient("os:///orders", append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		return nil, err
	}
	return &storefront{
		pipeline: p, tracer: trace.New(scope, p.Providers()), conn: conn, orders: ordersv1.NewOrdersClient(conn), carts: c, settings: cfg,
	}, nil
}

func (s *storefront) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /products/{id}", s.during(always, s.product))
	mux.HandleFunc("POST /orders", s.during(ordersOpen, s.order))
	mux.HandleFunc("GET /carts/{customer}", s.during(cartsOpen, s.showCart))
	mux.HandleFunc("PUT /carts/{customer}/{product}", s.during(cartsOpen, s.setInCart))
	mux.HandleFunc("POST /carts/{customer}/order", s.during(cartsOpen, s.during(ordersOpen, s.orderCart)))
	return oshttp.NewHandler(mux, &oshttp.HandlerOptions{
		Telemetry: s.pipeline.Providers(),
		Timeout:   time.Minute, // the longest that Limits.Timeout may be
		Services:  []string{"storefront"},
	})
}

// always, cartsOpen and ordersOpen report whether a part of the shop is switched on, and name that part.
func always(*settings) (open bool, what string)       { return true, "" }
func cartsOpen(s *settings) (open bool, what string)  { return s.Switches.Carts, "carts are" }
func ordersOpen(s *settings) (open bool, what string) { return s.Switches.Orders, "orders are" }

// during serves a request if a switch is on, within the timeout of the settings. Orders and payments receive the remaining time.
func (s *storefront) during(on func(*settings) (bool, string), next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		now := s.settings.Get()
		if open, what := on(now); !open {
			http.Error(w, what+" switched off at the moment", http.StatusServiceUnavailable)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), now.Limits.Timeout)
		defer cancel()
		next(w, r.WithContext(ctx))
	}
}

func (s *storefront) product(w http.ResponseWriter, r *http.Request) {
	item, ok := s.settings.Get().find(r.PathValue("id"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	err := s.tracer.Do(r.Context(), "render page", func(ctx context.Context) error { return work(ctx, time.Millisecond) })
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	s.write(w, r, http.StatusOK, item)
}

func (s *storefront) order(w http.ResponseWriter, r *http.Request) {
	var o order
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
		http.Error(w, "the body is not an order: "+err.Error(), http.StatusBadRequest)
		return
	}
	placed, err := s.orders.Place(r.Context(), &ordersv1.PlaceRequest{Product: o.Product, Quantity: o.Quantity, Card: o.Card})
	if err != nil {
		s.orderFailed(w, r, err)
		return
	}
	s.pipeline.Logger().InfoContext(r.Context(), "order taken", slog.String("order", placed.GetOrder()))
	s.write(w, r, http.StatusCreated, map[string]any{"order": placed.GetOrder(), "cents": placed.GetTotal()})
}

// orderFailed responds with an error of the orders service.
func (s *storefront) orderFailed(w http.ResponseWriter, r *http.Request, err error) {
	answer := httpStatus(err)
	if answer >= http.StatusInternalServerError {
		s.pipeline.Logger().ErrorContext(r.Context(), "order not taken", slog.Any("error", err))
	}
	http.Error(w, status.Convert(err).Message(), answer)
}

// httpStatus returns the HTTP status for an error of the orders service.
func httpStatus(err error) int {
	switch status.Code(err) {
	case codes.NotFound:
		return http.StatusNotFound
	case codes.InvalidArgument:
		return http.StatusBadRequest
	case codes.FailedPrecondition:
		return http.StatusPaymentRequired
	case codes.DeadlineExceeded:
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}

func (s *storefront) write(w http.ResponseWriter, r *http.Request, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		s.pipeline.Logger().DebugContext(r.Context(), "answer not written", slog.Any("error", err))
	}
}
