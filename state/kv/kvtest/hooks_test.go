package kvtest

import (
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/state/kv/driver"
)

// durableRemote declares Durable, so that the storms run on it.
type durableRemote struct{ *remote }

func (d durableRemote) Capabilities() driver.Capabilities {
	caps := d.remote.Capabilities()
	caps.Abilities |= driver.Durable
	return caps
}

// TestHookFails runs an engine that cannot be started again and so fails its test. The promise in progress reports it, and leaves no
// goroutine that could report to a completed test.
func TestHookFails(t *testing.T) {
	for _, p := range promises() {
		if p.Hook != "a fault" && p.Hook != "Kill" {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			b := remoteBackend()
			b.FakeClock = false
			open := b.Open
			b.Open = func(t testing.TB) driver.Driver { return durableRemote{open(t).(*remote)} }
			b.Revive = func(testing.TB) { runtime.Goexit() }
			b.Pause, b.Resume = nil, nil
			if said := strings.Join(contract(suite.Guarded(b), new(Record)).Failures(t, p.Name), "\n"); !strings.Contains(said, "the hook Revive ended another test") {
				t.Errorf("it says %q", said)
			}
			if p.Hook == "a fault" { // watches of other stores end with the test
				if err := goleak.Find(before); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
