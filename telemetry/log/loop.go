package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"time"
)

// slog.SetDefault redirects the output of package log to the default logger. A sink that writes to package log then receives its
// own lines: package log deadlocks, or the records multiply. The functions below detect such lines by the stack: a record that is
// logged below call comes from a sink. The stack is read only while such a sink has a record.

// errLoop reports a record that a sink wrote to package log.
var errLoop = errors.New("it writes to package log, and package log writes to this logger: give it a writer of its own, such as os.Stderr")

// maxLoopWait bounds the wait of a line of package log for a sink that may itself write to package log.
const maxLoopWait = time.Second

// The functions to look for on the stack.
const (
	callFrame     = scopeName + ".(*outlet).call"
	standardWrite = "log/slog.(*handlerWriter).Write"
)

// foreign reports whether a sink may write to package log. The sinks of this package do not, if they write to a file or to memory.
func foreign(s slog.Handler) bool {
	switch s := s.(type) {
	case *traced:
		return s.foreign
	case bridge:
		return false
	case *AsyncSink:
		return s.outlet.foreign
	default:
		return s != slog.DiscardHandler
	}
}

// foreignWriter is foreign for the writer of Text and JSON.
func foreignWriter(w io.Writer) bool {
	switch w.(type) {
	case *os.File, *File, *bytes.Buffer:
		return false
	default:
		return w != io.Discard
	}
}

// echo reports whether one of the sinks logged the current record.
func (p *pipeline) echo() bool {
	for _, o := range p.sinks {
		if o.hasRecord() {
			return onStack(callFrame)
		}
	}
	return false
}

func (o *outlet) hasRecord() bool {
	return o.inFlight.Load() > 0 || o.behind != nil && o.behind.inFlight.Load() > 0
}

// refuseEcho fails the record of the sink that logged this one: the sink has not delivered it. The sink is known only if no other
// has a record at this moment, or if it was found before.
func (p *pipeline) refuseEcho(ctx context.Context) error {
	var suspects []*outlet
	for _, o := range p.sinks {
		switch {
		case !o.foreign || !o.hasRecord():
		case o.loops.Load():
			return o.refuse(ctx)
		default:
			suspects = append(suspects, o)
		}
	}
	switch len(suspects) {
	case 0:
		return errLoop // the sink has returned in the meantime
	case 1:
		return suspects[0].refuse(ctx)
	default:
		err := fmt.Errorf("log: sink %q or another: %w", suspects[0].name, errLoop)
		suspects[0].report.report(err)
		return err
	}
}

func (o *outlet) refuse(ctx context.Context) error {
	o.loops.Store(true)
	err := fmt.Errorf("log: sink %q: %w", o.name, errLoop)
	o.fail(ctx, reasonError, err)
	return err
}

// deliverApart delivers a line of package log, whose lock is held, from another goroutine. A sink that writes to package log would
// otherwise wait for that lock forever. Once a sink is known to do so, it receives no such lines.
func (o *outlet) deliverApart(ctx context.Context, h slog.Handler, r slog.Record) error {
	if o.loops.Load() {
		return o.refuse(ctx)
	}
	done := make(chan error, 1)
	r = r.Clone()
	go func() { done <- o.deliver(ctx, h, r) }()
	timer := time.NewTimer(maxLoopWait)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("log: sink %q: it has not taken a line of package log within %s", o.name, maxLoopWait)
	}
}

// onStack reports whether a function is among the callers.
func onStack(name string) bool {
	var pcs [64]uintptr
	for skip := 2; ; skip += len(pcs) {
		n := runtime.Callers(skip, pcs[:])
		for _, pc := range pcs[:n] {
			if f := runtime.FuncForPC(pc - 1); f != nil && strings.HasPrefix(f.Name(), name) {
				return true
			}
		}
		if n < len(pcs) {
			return false
		}
	}
}
