package main

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/examples/shop/internal/show"
)

// route gives a service a router for the services that it calls. Its policies are those of the settings, and change with them.
func (s *service) route(cfg *config.Config[settings]) (err error) {
	s.router, err = router.New(s.resolver, &router.Options{Policies: cfg.Get().Routes, Client: instance(s.name), Telemetry: s.pipeline.Providers()})
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	_, err = cfg.OnChange("routes", func(_, now *settings) {
		if err := s.router.SetPolicies(now.Routes); err != nil { // the settings were validated
			s.pipeline.Logger().Error("policies not applied", slog.Any("error", err))
		}
	})
	return err
}

// showRoutes serves GET /routes, the state of the services that a service calls, as text.
func (s *service) showRoutes(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err := writeRoutes(w, s.router.Status()); err != nil {
		s.pipeline.Logger().Debug("answer not written", slog.Any("error", err))
	}
}

// writeRoutes writes a table for each service that is called.
func writeRoutes(w io.Writer, all []router.Status) error {
	for _, s := range all {
		fmt.Fprintf(w, "%s (%s): %s\n\n", s.Service, s.Protocol, summary(s))
		rows := [][]string{{"address", "weight", "latency", "in flight", "per second", "failures", "state"}}
		for _, e := range s.Endpoints {
			rows = append(rows, []string{
				e.Address, fmt.Sprintf("%6.2f", e.Weight), millis(e.Latency), fmt.Sprintf("%9d", e.InFlight),
				fmt.Sprintf("%10.1f", e.Rate), fmt.Sprintf("%6.0f %%", 100*e.Failures), stateFor(e),
			})
		}
		if err := show.WriteTable(w, rows); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	return nil
}

// summary describes what concerns a service as a whole.
func summary(s router.Status) string {
	text := fmt.Sprintf("%s, %d in flight, %.0f retries left", algorithm(s.Policy), s.InFlight, s.RetryBudget)
	if s.P99 > 0 {
		text += fmt.Sprintf(", median %s, p99 %s", strings.TrimSpace(millis(s.Median)), strings.TrimSpace(millis(s.P99)))
	}
	if s.Breaker != nil {
		text += ", breaker " + s.Breaker.State
	}
	if s.ThrottleProbability > 0 {
		text += fmt.Sprintf(", %.0f %% throttled", 100*s.ThrottleProbability)
	}
	if s.Panic {
		text += ", panic: ejections are ignored"
	}
	return text
}

// algorithm returns the algorithm that a policy balances by.
func algorithm(p router.Policy) string {
	if p.Balance.Algorithm == "" {
		return router.Auto
	}
	return p.Balance.Algorithm
}
