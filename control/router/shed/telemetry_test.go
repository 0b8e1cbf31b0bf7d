package shed_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/log"

	"github.com/go-os/go-os/control/router/shed"
	"github.com/go-os/go-os/telemetry/telemetrytest"
)

// TestTelemetry asserts the names and attributes that the package comment lists.
func TestTelemetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recorder := telemetrytest.New()
		s, err := shed.New(&shed.Options{Name: "api", MinLimit: 1, InitialLimit: 2, Telemetry: recorder.Providers})
		if err != nil {
			t.Fatal(err)
		}
		var held []shed.Admission
		for _, p := range []shed.Priority{shed.Normal, shed.Normal, shed.Normal, shed.Low, shed.Low} {
			if a, ok := s.Admit(t.Context(), p); ok {
				held = append(held, a)
			}
		}
		wantPoints(t, recorder, map[string]float64{
			"goos.shed.limit {request} goos.shed.name=api":                                                         2,
			"goos.shed.in_flight {request} goos.shed.name=api":                                                     2,
			"goos.shed.rejections {request} goos.shed.name=api,goos.shed.observed=false,goos.shed.priority=normal": 1,
			"goos.shed.rejections {request} goos.shed.name=api,goos.shed.observed=false,goos.shed.priority=low":    2,
		})
		time.Sleep(3 * time.Second)
		s.Admit(t.Context(), shed.Normal) // refused
		held[0].Done(shed.Success)
		time.Sleep(5 * time.Second)
		if st := s.Status(); st.Shedding {
			t.Error("still shedding after five seconds")
		}
		held[1].Done(shed.Success)

		events := recorder.Events()
		if len(events) != 2 {
			t.Fatalf("%d events, want one when shedding begins and one when it ends", len(events))
		}
		wantEvent(t, events[0], "goos.shed.began", log.SeverityWarn, map[string]any{
			"goos.shed.name": "api", "goos.shed.limit": int64(2), "goos.shed.in_flight": int64(2)})
		wantEvent(t, events[1], "goos.shed.ended", log.SeverityInfo, map[string]any{
			"goos.shed.name": "api", "goos.shed.limit": int64(2), "goos.shed.in_flight": int64(0), "goos.shed.refused": int64(4), "goos.shed.duration": 3.0})

		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		points, err := recorder.Points(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range points {
			if p.Name != "goos.shed.rejections" {
				t.Errorf("%v after Close", p)
			}
		}
	})
}

func wantPoints(t *testing.T, recorder *telemetrytest.Recorder, want map[string]float64) {
	t.Helper()
	points, err := recorder.Points(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range points {
		if v, ok := want[p.String()]; !ok || v != p.Value {
			t.Errorf("point %v is %v, want %v", p, p.Value, v)
		}
	}
	if len(points) != len(want) {
		t.Errorf("%d points, want %d", len(points), len(want))
	}
}

func wantEvent(t *testing.T, e telemetrytest.Event, name string, severity log.Severity, attributes map[string]any) {
	t.Helper()
	if e.Name != name || e.Severity != severity || fmt.Sprint(e.Attributes) != fmt.Sprint(attributes) {
		t.Errorf("event %s, %v, %v; want %s, %v, %v", e.Name, e.Severity, e.Attributes, name, severity, attributes)
	}
}
