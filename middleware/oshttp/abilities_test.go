package oshttp

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-os/go-os/telemetry"
)

// allAble is a ResponseWriter with every ability, which counts the calls.
type allAble struct {
	http.ResponseWriter
	calls int
}

func (w *allAble) Flush()                                       { w.calls++ }
func (w *allAble) Hijack() (net.Conn, *bufio.ReadWriter, error) { w.calls++; return nil, nil, nil }
func (w *allAble) ReadFrom(io.Reader) (int64, error)            { w.calls++; return 0, nil }
func (w *allAble) Push(string, *http.PushOptions) error         { w.calls++; return nil }
func (w *allAble) CloseNotify() <-chan bool                     { w.calls++; return nil }

// Each writer of the table has exactly the methods of its index, and they reach the wrapped writer.
func TestWritersHaveExactlyTheirAbilities(t *testing.T) {
	for index, make := range writers {
		under := &allAble{ResponseWriter: httptest.NewRecorder()}
		w := make(&exchange{h: &handler{}, rw: under, caller: &http.Request{}, req: &http.Request{}})
		var got abilities
		if f, ok := w.(http.Flusher); ok {
			got |= canFlush
			f.Flush()
		}
		if h, ok := w.(http.Hijacker); ok {
			got |= canHijack
			_, _, _ = h.Hijack()
		}
		if r, ok := w.(io.ReaderFrom); ok {
			got |= canReadFrom
			_, _ = r.ReadFrom(strings.NewReader(""))
		}
		if p, ok := w.(http.Pusher); ok {
			got |= canPush
			_ = p.Push("/", nil)
		}
		calls := 0
		if c, ok := w.(closeNotifier); ok {
			got |= canNotify
			c.CloseNotify()
		}
		for bits := index; bits > 0; bits &= bits - 1 {
			calls++
		}
		if got != abilities(index) || under.calls != calls {
			t.Errorf("writer %05b has the abilities %05b, and %d calls of %d reached the writer below", index, got, under.calls, calls)
		}
		if _, ok := w.(interface{ FlushError() error }); ok != (got&canFlush != 0) {
			t.Errorf("writer %05b has FlushError: %t", index, ok)
		}
	}
	if got := abilitiesOf(&allAble{}); got != allAbilities {
		t.Errorf("a writer that can do everything has the abilities %05b", got)
	}
}

// plainWriter is a ResponseWriter without further abilities.
type plainWriter struct{ header http.Header }

func (w plainWriter) Header() http.Header       { return w.header }
func (plainWriter) Write(p []byte) (int, error) { return len(p), nil }
func (plainWriter) WriteHeader(int)             {}

// The handler's writer has the same abilities as the server's, whatever they are.
func TestHandlersHaveTheAbilitiesOfTheServer(t *testing.T) {
	for index, make := range writers {
		served := false
		h := NewHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			served = true
			if got := abilitiesOf(w); got != abilities(index) {
				t.Errorf("over a writer with the abilities %05b, the handler's has %05b", index, got)
			}
		}), &HandlerOptions{Telemetry: telemetry.Off()})
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		h.ServeHTTP(make(&exchange{h: &handler{}, rw: plainWriter{http.Header{}}, caller: r, req: r}), r)
		if !served {
			t.Errorf("over a writer with the abilities %05b, the handler was not called", index)
		}
	}
}

// ableBody is a body with every ability, which counts the calls. Its WriteTo can be set to fail.
type ableBody struct {
	io.Reader
	calls int
	fails error
}

func (b *ableBody) Close() error                      { return nil }
func (b *ableBody) Write(p []byte) (int, error)       { b.calls++; return len(p), nil }
func (b *ableBody) ReadFrom(io.Reader) (int64, error) { b.calls++; return 0, nil }
func (b *ableBody) CloseWrite() error                 { b.calls++; return nil }
func (b *ableBody) WriteTo(w io.Writer) (int64, error) {
	b.calls++
	n, err := io.WriteString(w, "body")
	return int64(n), errors.Join(err, b.fails)
}

// Each body of the table has exactly the methods of its index, and they reach the wrapped body.
func TestBodiesHaveExactlyTheirAbilities(t *testing.T) {
	for index, make := range bodies {
		under := &ableBody{Reader: strings.NewReader("")}
		body := make(&responseBody{under, newTestCall()})
		var got bodyAbilities
		if w, ok := body.(io.Writer); ok {
			got |= bodyWrites
			_, _ = w.Write(nil)
		}
		if r, ok := body.(io.ReaderFrom); ok {
			got |= bodyReadsFrom
			_, _ = r.ReadFrom(nil)
		}
		if c, ok := body.(closeWriter); ok {
			got |= bodyClosesWrite
			_ = c.CloseWrite()
		}
		if w, ok := body.(io.WriterTo); ok {
			got |= bodyWritesTo
			_, _ = w.WriteTo(io.Discard)
		}
		calls := 0
		for bits := index; bits > 0; bits &= bits - 1 {
			calls++
		}
		if got != bodyAbilities(index) || under.calls != calls {
			t.Errorf("body %04b has the abilities %04b, and %d calls of %d reached the body below", index, got, under.calls, calls)
		}
	}
	if got := bodyAbilitiesOf(&ableBody{}); got != allBodyAbilities {
		t.Errorf("a body that can do everything has the abilities %04b", got)
	}
}

func newTestCall() *call {
	t := NewTransport(nil, nil)
	r := &http.Request{}
	return &call{t: t, caller: r, sent: r}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

// A body that writes itself to a destination ends the call, unless the destination failed.
func TestWriteToEndsTheCall(t *testing.T) {
	for name, test := range map[string]struct {
		to    io.Writer
		fails error
		ended bool
	}{
		"to the end":             {io.Discard, nil, true},
		"the body fails":         {io.Discard, io.ErrUnexpectedEOF, true},
		"the destination failed": {brokenWriter{}, nil, false},
	} {
		c := newTestCall()
		_, _ = watch(&ableBody{fails: test.fails}, c).(io.WriterTo).WriteTo(test.to)
		ended := true
		c.ended.Do(func() { ended = false })
		if ended != test.ended {
			t.Errorf("%s: the call has ended: %t, want %t", name, ended, test.ended)
		}
	}
}
