package main

import (
	"context"
	"time"

	"github.com/go-os/go-os/control/router/shed"
)

// runShed refuses a request, and then none for as long as it takes to be no longer overloaded.
func runShed(ctx context.Context, r *record) error {
	s, err := shed.New(&shed.Options{MinLimit: 1, MaxLimit: 1, Telemetry: r.providers()})
	if err != nil {
		return err
	}
	first, _ := s.Admit(ctx, shed.Normal)
	s.Admit(ctx, shed.Normal)
	for deadline := time.Now().Add(time.Minute); s.Status().Shedding && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
	}
	first.Done(shed.Success)
	return nil
}
