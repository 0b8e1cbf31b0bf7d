// Package testenv starts real servers for tests: an OpenTelemetry Collector, Prometheus, etcd, Consul, PostgreSQL and others.
//
// An Engine describes a server. A dedicated function starts the server and returns a handle:
//
//	collector := testenv.Collector(t, nil)
//	run(collector.GRPCEndpoint())
//	spans := collector.WaitSpans(3)
//
// Guarantees:
//   - Servers listen on free loopback ports and keep their files in a temporary folder, in memory under Run; both stay the same over a
//     Restart. No other test process takes a port meanwhile.
//   - A handle is returned once the server answers. A server that does not start fails the test with the end of its output.
//   - Nothing outlives the test: a server is stopped when the test ends and, on Linux, killed by the kernel should the test
//     process die first.
//   - Programs are built once for every state of their pinned module, into the user's cache folder; test binaries that need the
//     same one at the same time wait for a single build, and a build that is interrupted leaves no program behind.
//
// # Modes
//
// The variable OS_TEST_ENGINES decides what happens to a test whose engine is not available:
//
//   - auto, the default: light engines are built, heavy ones are used when the cache or PATH has them already, and a test whose
//     engine is missing is skipped by name. A machine with only Go passes in minutes.
//   - require: everything that can be built is built, and a missing engine fails the test. This is for continuous integration.
//   - off: every test that wants an engine is skipped.
//
// The go command caches results, skips included: after installing an engine, run the tests once with -count=1. "go run
// ./internal/tooling/testenv/cmd/engines" builds engines ahead of the tests and prints the place of each.
//
// # Adding an engine
//
// Add one file with an Engine that describes how the program is found and run, a handle type that embeds *Process, and a function that
// calls start. Then add a line to Engines. See prometheus.go.
package testenv

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// Engines lists every engine that tests may ask for, in the order in which the engines command shows them.
func Engines() []*Engine {
	return []*Engine{collectorEngine(), prometheusEngine(), promtoolEngine(), etcdEngine(),
		consulEngine(), natsEngine(), redisEngine(), memcachedEngine(), postgresEngine(), pgbouncerEngine(0, "", 0), dnsEngine(&zoneFile{}), toxiproxyEngine()}
}

// shared is the finder of the test process. It is one, so that an engine that cannot be built is tried once and not by every test.
var shared = sync.OnceValues(NewFinder)

// program returns the engine's program, or ends the test: by a skip that names the missing engine, or by a failure where the mode requires
// it.
func program(t testing.TB, e *Engine) Program {
	t.Helper()
	finder, err := shared()
	if err != nil {
		t.Fatalf("testenv: %v", err)
	}
	return demand(t, finder, e)
}

// demand is program with a given finder.
func demand(t testing.TB, finder *Finder, e *Engine) Program {
	t.Helper()
	ctx, cancel := beforeDeadline(t)
	defer cancel()
	found, err := finder.Find(ctx, e)
	switch {
	case err == nil:
		return found
	case errors.Is(err, ErrOff):
		t.Skip(err)
	case errors.Is(err, ErrMissing) && finder.Mode == Auto:
		t.Skip(err)
	default:
		t.Fatal(err)
	}
	return Program{}
}

// beforeDeadline returns a context that ends a little before the test binary times out. A build that takes too long is then reported as
// such, and not as the stack dump of a test that timed out.
func beforeDeadline(t testing.TB) (context.Context, context.CancelFunc) {
	const margin = 5 * time.Second
	if d, ok := t.(interface{ Deadline() (time.Time, bool) }); ok {
		if end, set := d.Deadline(); set {
			return context.WithDeadline(context.Background(), end.Add(-margin))
		}
	}
	return context.WithCancel(context.Background())
}
