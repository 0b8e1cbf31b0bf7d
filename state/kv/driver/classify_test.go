package driver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/go-os/go-os/state/kv/driver"
)

func TestClassify(t *testing.T) {
	late := fmt.Errorf("nats: %w", context.DeadlineExceeded)
	for _, c := range []struct {
		class, err error
		want       string
	}{
		{driver.ErrUnavailable, io.EOF, "unavailable: EOF"},
		{context.DeadlineExceeded, context.DeadlineExceeded, "context deadline exceeded"},
		{context.DeadlineExceeded, late, "nats: context deadline exceeded"},
		{driver.ErrConflict, errors.New("nats: nats: API error: code=400"), "conflict: nats: API error: code=400"},
		{context.Canceled, errors.New("rpc error: desc = context canceled"), "rpc error: desc = context canceled"},
	} {
		got := driver.Classify(c.class, c.err)
		if got.Error() != c.want {
			t.Errorf("Classify(%v, %v) = %q, want %q", c.class, c.err, got, c.want)
		}
		if !errors.Is(got, c.class) || !errors.Is(got, c.err) {
			t.Errorf("Classify(%v, %v) loses one of them", c.class, c.err)
		}
	}
}
