package serverload

import (
	"testing"
	"time"
)

func TestReportValues(t *testing.T) {
	for _, r := range []Report{{}, {1, time.Microsecond}, {4711, 2500 * time.Millisecond}} {
		got, ok := Parse(r.Values())
		if !ok || got != r {
			t.Errorf("%v is read as %v, %t", r, got, ok)
		}
	}
}

func TestParse(t *testing.T) {
	if got, ok := Parse("7", ""); !ok || got != (Report{InFlight: 7}) {
		t.Errorf("a report without latency is read as %v, %t", got, ok)
	}
	for _, bad := range [][2]string{
		{"", ""}, {"", "5"}, {"-1", "5"}, {"+1", "5"}, {"1.5", "5"}, {" 1", "5"}, {"1", "5 "}, {"1", "-5"}, {"one", "5"}, {"0x10", "5"},
		{"99999999", "5"},             // more requests than a server can have
		{"1", "3600000001"},           // more than an hour
		{"1", "18446744073709551617"}, // would overflow
		{"99999999999999999999999", "1"},
	} {
		if got, ok := Parse(bad[0], bad[1]); ok || got != (Report{}) {
			t.Errorf("report %q, %q is read as %v, want a refusal", bad[0], bad[1], got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("3", "1500")
	f.Add("", "")
	f.Add("16777217", "3600000001")
	f.Fuzz(func(t *testing.T, inFlight, latency string) {
		r, ok := Parse(inFlight, latency)
		if !ok {
			return
		}
		if r.InFlight < 0 || r.InFlight > maxInFlight || r.Latency < 0 || r.Latency > maxLatency {
			t.Errorf("%q, %q is read as %v, which is out of range", inFlight, latency, r)
		}
		if again, ok := Parse(r.Values()); !ok || again != r {
			t.Errorf("%v is read as %v, %t after writing", r, again, ok)
		}
	})
}
