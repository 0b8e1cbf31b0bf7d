package main

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"
)

// TestRatesThatAreNone: a rate that is not a number of requests per second is rejected.
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

// TestARateOfAlmostNothing uses a rate whose interval exceeds the range of time.Duration.
func TestARateOfAlmostNothing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	l := &load{}
	l.run(ctx, 1e-300)
	if n := l.sent.Load(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}
