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

	"github.com/go-os/go-os/examples/shop/ordersv1"
	"github.com/go-os/go-os/exporters"
	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry/trace"
)

// storefront is what customers see: product pages, carts and orders, over HTTP.
type storefront struct {
	pipeline *exporters.Pipeline
	tracer   *trace.Tracer
	conn     *grpc.ClientConn
	orders   ordersv1.OrdersClient
	carts    *carts
}

// order is the body of POST /orders.
type order struct {
	Product  string `json:"product"`
	Quantity int32  `json:"quantity"`
	Card     string `json:"card"`
}

func newStorefront(p *exporters.Pipeline, ordersAddr string, c *carts) (*storefront, error) {
	options := append(osgrpc.DialOptions(&osgrpc.Options{Telemetry: p.Providers()}),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	conn, err := grpc.NewClient(ordersAddr, options...)
	if err != nil {
		return nil, err
	}
	return &storefront{
		pipeline: p, tracer: trace.New(scope, p.Providers()), conn: conn, orders: ordersv1.NewOrdersClient(conn), carts: c,
	}, nil
}

func (s *storefront) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /products/{id}", s.product)
	mux.HandleFunc("POST /orders", s.order)
	mux.HandleFunc("GET /carts/{customer}", s.showCart)
	mux.HandleFunc("PUT /carts/{customer}/{product}", s.setInCart)
	mux.HandleFunc("POST /carts/{customer}/order", s.orderCart)
	return oshttp.NewHandler(mux, &oshttp.HandlerOptions{
		Telemetry: s.pipeline.Providers(),
		Timeout:   2 * time.Second, // of the whole request: orders and payments are told what is left of it
	})
}

func (s *storefront) product(w http.ResponseWriter, r *http.Request) {
	item, ok := find(r.PathValue("id"))
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

// orderFailed tells a customer what orders had to say.
func (s *storefront) orderFailed(w http.ResponseWriter, r *http.Request, err error) {
	answer := httpStatus(err)
	if answer >= http.StatusInternalServerError {
		s.pipeline.Logger().ErrorContext(r.Context(), "order not taken", slog.Any("error", err))
	}
	http.Error(w, status.Convert(err).Message(), answer)
}

// httpStatus is what customers are told of an error from orders.
func httpStatus(err error) int {
	switch status.Code(err) {
	case codes.NotFound:
		return http.StatusNotFound
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
