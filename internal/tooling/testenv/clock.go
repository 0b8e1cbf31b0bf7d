package testenv

import (
	_ "embed"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// Clock is the wall clock of an engine, which a test can set. It does not touch the clock of the machine, or the monotonic clock.
//
// The engine loads a small library before the C library. This works for programs that ask the C library for the time, such as Redis and
// PostgreSQL. It does not work for programs written in Go.
type Clock struct {
	t       testing.TB
	library string
	offset  string // a file with nanoseconds, which the library maps
}

//go:embed testdata/clock.c
var clockSource []byte

// NewClock returns a Clock that shows the true time. It builds the library, which needs a C compiler. Without one, the test is skipped, or
// fails where engines are required.
func NewClock(t testing.TB) *Clock {
	t.Helper()
	dir := t.TempDir()
	c := &Clock{t: t, library: filepath.Join(dir, "clock.so"), offset: filepath.Join(dir, "offset")}
	if runtime.GOOS != "linux" {
		c.unavailable("an engine's clock can be set on Linux only")
	}
	source := filepath.Join(dir, "clock.c")
	if err := os.WriteFile(source, clockSource, 0o644); err != nil {
		t.Fatal(err)
	}
	c.Step(0)
	if said, err := exec.CommandContext(t.Context(), "cc", "-shared", "-fPIC", "-O2", "-o", c.library, source).CombinedOutput(); err != nil {
		c.unavailable("the C compiler could not build the clock: " + err.Error() + ": " + string(said) + "; remedy: apt-get install gcc libc6-dev")
	}
	for _, path := range []string{dir, filepath.Dir(dir)} { // engines that refuse to be root run as another user
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// unavailable ends the test in the same way as a missing engine.
func (c *Clock) unavailable(why string) {
	c.t.Helper()
	if mode, err := modeFromEnvironment(); err != nil || mode == Require {
		c.t.Fatal(why)
	}
	c.t.Skip(why)
}

// Step sets the clock to the true time plus offset.
func (c *Clock) Step(offset time.Duration) {
	c.t.Helper()
	file, err := os.OpenFile(c.offset, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		c.t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(offset)), 0); err != nil {
		c.t.Fatal(err)
	}
}

// apply makes an engine use the clock.
func (c *Clock) apply(e *Engine) *Engine {
	e.Env = append(e.Env, "LD_PRELOAD="+c.library, "GOOS_CLOCK_OFFSET="+c.offset)
	return e
}

// RedisAt is Redis with a clock that can be set.
func RedisAt(t testing.TB, c *Clock) *RedisHandle {
	t.Helper()
	return &RedisHandle{Process: start(t, c.apply(redisEngine()))}
}

// PostgresAt is Postgres with a clock that can be set.
func PostgresAt(t testing.TB, c *Clock) *PostgresHandle {
	t.Helper()
	return &PostgresHandle{Process: start(t, c.apply(postgresEngine()))}
}
