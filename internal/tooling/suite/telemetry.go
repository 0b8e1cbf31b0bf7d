package suite

import (
	"testing"

	"github.com/go-os/go-os/telemetry/telemetrytest"
)

// Points returns the values of the instruments by Point.String: the count of a histogram, the value of another instrument.
func Points(t testing.TB, recorder *telemetrytest.Recorder) map[string]int64 {
	t.Helper()
	points, err := recorder.Points(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]int64{}
	for _, p := range points {
		n := int64(p.Count)
		if n == 0 {
			n = int64(p.Value)
		}
		all[p.String()] += n
	}
	return all
}

// Emitted reports whether an OTel event of this name was emitted.
func Emitted(recorder *telemetrytest.Recorder, name string) bool {
	for _, event := range recorder.Events() {
		if event.Name == name {
			return true
		}
	}
	return false
}
