package exporters

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// long makes the measurements under load longer and their verdict stricter.
var long = flag.Bool("long", false, "measure under load for minutes, and hold p99 to its limit")

func TestMain(m *testing.M) {
	if os.Getenv(childMode) != "" {
		os.Exit(child())
	}
	// Most tests here wait for peers, and few compute, so more than one per processor may run. -parallel
	// overrides this.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	flag.Parse()
	goleak.VerifyTestMain(m)
}

// logBuffer is a log that tests can read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// lines returns the lines that contain all of the texts.
func (b *logBuffer) lines(texts ...string) (found []string) {
	for line := range strings.Lines(b.String()) {
		matches := true
		for _, text := range texts {
			matches = matches && strings.Contains(line, text)
		}
		if matches {
			found = append(found, line)
		}
	}
	return found
}

// setup is Setup for tests: no globals, a separate environment, the log in a buffer.
func setup(t testing.TB, o Options) (*Pipeline, *logBuffer) {
	t.Helper()
	log := &logBuffer{}
	o.KeepGlobals = true
	if o.LogWriter == nil {
		o.LogWriter = log
	}
	if o.Environ == nil {
		o.Environ = []string{}
	}
	p, err := Setup(t.Context(), &o)
	if err != nil {
		t.Fatal(err)
	}
	return p, log
}

// balanced checks that the account of a signal adds up.
func balanced(t testing.TB, signal Signal, h SignalHealth) {
	t.Helper()
	if h.Emitted != h.Exported+h.Dropped+h.Queued {
		t.Errorf("%s: emitted %d, but exported %d + dropped %d + queued %d = %d",
			signal, h.Emitted, h.Exported, h.Dropped, h.Queued, h.Exported+h.Dropped+h.Queued)
	}
}
