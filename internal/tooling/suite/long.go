package suite

import (
	"os"
	"testing"
)

// LongVariable is the environment variable that also runs the tests that take long: "on" or "off". Default: off.
const LongVariable = "OS_TEST_LONG"

// Long skips a test that takes long, unless LongVariable is on. A test takes long if it injects faults into an engine for many seconds,
// or repeats a whole suite.
func Long(t testing.TB) {
	t.Helper()
	switch value := os.Getenv(LongVariable); value {
	case "on":
	case "", "off":
		t.Skipf("takes long: set %s=on to run it", LongVariable)
	default:
		t.Fatalf("%s=%q: set it to on or off", LongVariable, value)
	}
}
