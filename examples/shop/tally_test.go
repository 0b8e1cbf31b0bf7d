package main

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestTally: periods have the counts between two changes, and the memory of a long run is bounded.
func TestTally(t *testing.T) {
	now := &tally{console: newConsole(io.Discard, io.Discard), states: func() map[string]string { return map[string]string{"b": "ejected"} }}
	a, b := &replica{now: score{condition: well}}, &replica{now: score{condition: well}}
	now.add(a, "a")
	now.add(b, "b")
	start := time.Now()
	now.begin()
	for n := range 3 * maxLatencies {
		now.charged(a, time.Duration(n)*time.Millisecond, n == 0)
	}
	if n := len(a.now.latencies); n != maxLatencies {
		t.Errorf("%d latencies are kept, want %d", n, maxLatencies)
	}
	now.charged(b, time.Millisecond, true)
	now.change(b, slow)
	now.end()

	var got []string
	for _, row := range now.rows(start)[1:] {
		for i, cell := range row {
			row[i] = strings.TrimSpace(cell)
		}
		got = append(got, strings.Join(row[1:], "|"))
	}
	want := []string{
		"a|well|3000|100 %|1|2500.0ms|-", "b|well|1|0 %|1|1.0ms|ejected",
		"a|well|0|0 %|0|-|-", "b|slow|0|0 %|0|-|ejected",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	for range 2 * maxPeriods {
		now.end()
	}
	if n := len(now.past); n != maxPeriods {
		t.Errorf("%d periods are kept, want %d", n, maxPeriods)
	}
}
