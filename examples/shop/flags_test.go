package main

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"
)

// TestRatesThatAreNone refuses what is no number of requests a second.
func TestRatesThatAreNone(t *testing.T) {
	for _, rate := range []string{"NaN", "Inf", "-Inf", "-1", "10001"} {
		if _, err := parse([]string{"-rate", rate}, io.Discard); !errors.Is(err, errUsage) {
			t.Errorf("-rate %s: %v", rate, err)
		}
	}
	for _, rate := range []string{"0", "1e-300", "10000"} {
		if _, err := parse([]string{"-rate", rate}, io.Discard); err != nil {
			t.Errorf("-rate %s: %v", rate, err)
		}
	}
}

// TestARateOfAlmostNothing waits longer than any clock counts.
func TestARateOfAlmostNothing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	l := &load{}
	l.run(ctx, 1e-300)
	if n := l.sent.Load(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}
