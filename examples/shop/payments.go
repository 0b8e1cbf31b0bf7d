package main

import (
	"context"
	"encoding/json"
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

// payments charges cards over HTTP. It is the last service of the chain.
type payments struct {
	pipeline *exporters.Pipeline
	tracer   *trace.Tracer
	charges  *metrics.Counter[chargeLabels]

	settlement atomic.Pointer[settlement] // nil until the address of the service is known
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

func (p *payments) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /charges", p.charge)
	mux.HandleFunc("GET /settlement", func(w http.ResponseWriter, r *http.Request) {
		s := p.settlement.Load()
		if s == nil {
			http.Error(w, "the service is about to start", http.StatusServiceUnavailable)
			return
		}
		s.show(w, r)
	})
	return oshttp.NewHandler(mux, &oshttp.HandlerOptions{
		Telemetry: p.pipeline.Providers(), DeadlineHeader: oshttp.DefaultDeadlineHeader, // of orders, which is trusted
		Services: []string{"payments"},
	})
}

func (p *payments) charge(w http.ResponseWriter, r *http.Request) {
	ctx, log := r.Context(), p.pipeline.Logger()
	var c charge
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
		http.Error(w, "the body is not a charge: "+err.Error(), http.StatusBadRequest)
		return
	}
	// A card number of fewer than four digits panics here. The bug is deliberate: the trace shows its effect.
	card := slog.String("card", "…"+c.Card[len(c.Card)-4:])
	var authorized bool
	err := p.tracer.Do(ctx, "authorize", func(ctx context.Context) (err error) {
		authorized, err = authorize(ctx, c)
		return err
	})
	switch {
	case err != nil:
		log.ErrorContext(ctx, "bank not reached", card, slog.Any("error", err))
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	case !authorized:
		p.charges.Add(ctx, 1, chargeLabels{Result: "refused"})
		log.WarnContext(ctx, "card refused", card, slog.Int64("cents", c.Cents))
		http.Error(w, "the bank refused the card", http.StatusPaymentRequired)
	default:
		p.charges.Add(ctx, 1, chargeLabels{Result: "authorized"})
		log.InfoContext(ctx, "card charged", card, slog.Int64("cents", c.Cents))
		w.WriteHeader(http.StatusNoContent)
	}
}

// authorize simulates the bank. A refusal is not an error.
func authorize(ctx context.Context, c charge) (bool, error) {
	if err := work(ctx, 4*time.Millisecond); err != nil {
		return false, err
	}
	if c.Cents >= reviewFrom {
		if err := work(ctx, 250*time.Millisecond); err != nil {
			return false, err
		}
	}
	return !strings.HasSuffix(c.Card, "0002"), nil
}
