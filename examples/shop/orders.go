package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/examples/shop/ordersv1"
	"github.com/go-os/go-os/exporters"
	"github.com/go-os/go-os/middleware/osgrpc"
	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry/metrics"
	"github.com/go-os/go-os/telemetry/trace"
)

// orders accepts orders over gRPC, and charges them through the payments service over HTTP.
type orders struct {
	ordersv1.UnimplementedOrdersServer
	pipeline *exporters.Pipeline
	tracer   *trace.Tracer
	taken    *metrics.Counter[orderLabels]
	client   *http.Client
	last     atomic.Int64
	settings *config.Config[settings]
}

// orderLabels are the labels of shop.orders.
type orderLabels struct {
	Result string `metric:"result"`
}

var errRefused = errors.New("the bank refused the card")

func newOrders(p *exporters.Pipeline, routes *router.Router, cfg *config.Config[settings]) (*orders, error) {
	taken, err := metrics.NewCounter[orderLabels](scope, p.Providers(), "shop.orders",
		&metrics.InstrumentOptions{Unit: "{order}", Description: "Orders by result: placed, refused or failed."})
	if err != nil {
		return nil, err
	}
	payments, err := oshttp.NewServices(nil, &oshttp.ServicesOptions{Names: []string{"payments"}, Router: routes, Telemetry: p.Providers()})
	if err != nil {
		return nil, err
	}
	return &orders{
		pipeline: p,
		tracer:   trace.New(scope, p.Providers()),
		taken:    taken,
		client: &http.Client{Transport: oshttp.NewTransport(payments, &oshttp.TransportOptions{
			Telemetry: p.Providers(), DeadlineHeader: oshttp.DefaultDeadlineHeader,
		})},
		settings: cfg,
	}, nil
}

// server returns a server for a further instance. It reports a load of its own, as if it ran on a machine of its own.
func (o *orders) server() *grpc.Server {
	s := grpc.NewServer(osgrpc.ServerOptions(&osgrpc.Options{
		Telemetry: o.pipeline.Providers(), Services: []string{"orders"}, ReportLoad: osgrpc.NewLoad(),
	})...)
	ordersv1.RegisterOrdersServer(s, o)
	return s
}

// Place implements ordersv1.OrdersServer.
func (o *orders) Place(ctx context.Context, req *ordersv1.PlaceRequest) (*ordersv1.PlaceResponse, error) {
	log := o.pipeline.Logger().With("product", req.GetProduct())
	now := o.settings.Get() // the same settings for the whole order
	item, ok := now.find(req.GetProduct())
	if !ok || req.GetQuantity() < 1 {
		return nil, status.Errorf(codes.NotFound, "no product %q in quantity %d", req.GetProduct(), req.GetQuantity())
	}
	if most := now.Limits.Quantity; req.GetQuantity() > most {
		return nil, status.Errorf(codes.InvalidArgument, "at most %d of one product in an order", most)
	}
	total := item.Cents * int64(req.GetQuantity())
	err := o.tracer.Do(ctx, "reserve stock", func(ctx context.Context) error { return work(ctx, 2*time.Millisecond) })
	if err == nil {
		log.InfoContext(ctx, "stock reserved", slog.Int("quantity", int(req.GetQuantity())))
		err = o.charge(ctx, charge{Card: req.GetCard(), Cents: total})
	}
	switch {
	case errors.Is(err, errRefused):
		o.taken.Add(ctx, 1, orderLabels{Result: "refused"})
		log.WarnContext(ctx, "order refused", slog.Any("error", err))
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	case err != nil:
		o.taken.Add(ctx, 1, orderLabels{Result: "failed"})
		log.ErrorContext(ctx, "order failed", slog.Any("error", err))
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	id := "o-" + strconv.FormatInt(o.last.Add(1), 10)
	o.taken.Add(ctx, 1, orderLabels{Result: "placed"})
	log.InfoContext(ctx, "order placed", slog.String("order", id), slog.Int64("cents", total))
	return &ordersv1.PlaceResponse{Order: id, Total: total}, nil
}

func (o *orders) charge(ctx context.Context, c charge) error {
	body, err := json.Marshal(c)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://payments/charges", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Idempotency-Key", rand.Text()) // the bank charges once for a key, so the router may repeat the request
	resp, err := o.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil { // read to the end, so that the connection can be reused
		return err
	}
	switch resp.StatusCode {
	case http.StatusNoContent:
		return nil
	case http.StatusPaymentRequired:
		return errRefused
	}
	return fmt.Errorf("payments answered %s", resp.Status)
}
