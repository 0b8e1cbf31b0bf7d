package trace

import (
	"testing"
	"time"

	"github.com/go-os/go-os/internal/option/optiontest"
)

// TestNegativeKeepOptions checks that a negative number is reported once, and that the default is
// used.
func TestNegativeKeepOptions(t *testing.T) {
	byDefault := (*KeepOptions)(nil).withDefaults()
	for field, opts := range map[string]KeepOptions{
		"Slow": {Slow: -time.Second}, "MaxTraces": {MaxTraces: -1}, "MaxSpans": {MaxSpans: -1}, "MaxBuffered": {MaxBuffered: -1},
		"MaxAge": {MaxAge: -time.Second}, "Linger": {Linger: -time.Second},
	} {
		optiontest.Reports(t, "trace.KeepOptions."+field, func() {
			if got := opts.withDefaults(); got != byDefault {
				t.Errorf("%s: %+v, want the defaults", field, got)
			}
		})
	}
}
