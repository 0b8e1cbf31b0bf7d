package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-os/go-os/exporters"
	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry/metrics"
	"github.com/go-os/go-os/telemetry/trace"
)

// payments charges cards over HTTP. It is the last service of the chain. Its instances share it.
type payments struct {
	pipeline *exporters.Pipeline
	tracer   *trace.Tracer
	charges  *metrics.Counter[chargeLabels]

	settlement atomic.Pointer[settlement] // nil until the address of the service is known
}

// replica is one instance of payments.
type replica struct {
	*payments
	tally *tally
	load  *oshttp.Load // of this instance alone, as if it ran on a machine of its own
	now   score        // guarded by the tally
}

// chargeLabels are the labels of shop.charges.
type chargeLabels struct {
	Result string `metric:"result"`
}

// charge is the body of POST /charges.
type charge struct {
	Card  string `json:"card"`
	Cents int64  `json:"cents"`
}

// reviewFrom is the amount, in cents, from which a person reviews a charge. These requests are slow.
const reviewFrom = 500_00

func newPayments(p *exporters.Pipeline) (*payments, error) {
	charges, err := metrics.NewCounter[chargeLabels](scope, p.Providers(), "shop.charges",
		&metrics.InstrumentOptions{Unit: "{charge}", Description: "Charges by result: authorized or refused."})
	if err != nil {
		return nil, err
	}
	return &payments{pipeline: p, tracer: trace.New(scope, p.Providers()), charges: charges}, nil
}

// replicate returns a further instance.
func (p *payments) replicate(t *tally) *replica {
	return &replica{payments: p, tally: t, load: oshttp.NewLoad(), now: score{condition: well}}
}

func (r *replica) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /charges", r.charge)
	mux.HandleFunc("PUT /condition", r.setCondition)
	mux.HandleFunc("GET /settlement", func(w http.ResponseWriter, req *http.Request) {
		s := r.settlement.Load()
		if s == nil {
			http.Error(w, "the service is about to start", http.StatusServiceUnavailable)
			return
		}
		s.show(w, req)
	})
	return oshttp.NewHandler(mux, &oshttp.HandlerOptions{
		Telemetry: r.pipeline.Providers(), DeadlineHeader: oshttp.DefaultDeadlineHeader, // of orders, which is trusted
		Services: []string{"payments"}, ReportLoad: r.load,
	})
}

func (r *replica) charge(w http.ResponseWriter, req *http.Request) {
	ctx, log := req.Context(), r.pipeline.Logger()
	began, failed := time.Now(), true // by a panic, too
	defer func() { r.tally.charged(r, time.Since(began), failed) }()
	var c charge
	if err := json.NewDecoder(req.Body).Decode(&c); err != nil {
		http.Error(w, "the body is not a charge: "+err.Error(), http.StatusBadRequest)
		return
	}
	// A card number of fewer than four digits panics here. The bug is deliberate: the trace shows its effect.
	card := slog.String("card", "…"+c.Card[len(c.Card)-4:])
	var authorized bool
	err := r.tracer.Do(ctx, "authorize", func(ctx context.Context) (err error) {
		authorized, err = authorize(ctx, c, r.tally.condition(r))
		return err
	})
	failed = err != nil
	switch {
	case err != nil:
		log.ErrorContext(ctx, "bank not reached", card, slog.Any("error", err))
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	case !authorized:
		r.charges.Add(ctx, 1, chargeLabels{Result: "refused"})
		log.WarnContext(ctx, "card refused", card, slog.Int64("cents", c.Cents))
		http.Error(w, "the bank refused the card", http.StatusPaymentRequired)
	default:
		r.charges.Add(ctx, 1, chargeLabels{Result: "authorized"})
		log.InfoContext(ctx, "card charged", card, slog.Int64("cents", c.Cents))
		w.WriteHeader(http.StatusNoContent)
	}
}

var errBank = errors.New("the bank is out of reach")

// authorize simulates the bank as an instance in some condition reaches it. A refusal is not an error.
func authorize(ctx context.Context, c charge, now condition) (bool, error) {
	wait := 4 * time.Millisecond
	switch now {
	case slow:
		wait *= slowdown
	case failing:
		return false, errBank
	}
	if err := work(ctx, wait); err != nil {
		return false, err
	}
	if c.Cents >= reviewFrom {
		if err := work(ctx, 250*time.Millisecond); err != nil {
			return false, err
		}
	}
	return !strings.HasSuffix(c.Card, "0002"), nil
}
