package oshttp

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// A handler learns what a ResponseWriter can do by asserting interfaces, so a writer that stands before another must have
// exactly its optional methods: one too few breaks websockets, one too many makes a handler believe in a flush that does
// nothing. Flushing and hijacking may also sit deeper, behind Unwrap, by the rule of http.ResponseController. Reading and
// pushing must not: what an outer writer does to the body would be bypassed.

type abilities uint8

const (
	canFlush abilities = 1 << iota
	canHijack
	canReadFrom
	canPush
)

func abilitiesOf(w http.ResponseWriter) abilities {
	var a abilities
	if _, ok := w.(io.ReaderFrom); ok {
		a |= canReadFrom
	}
	if _, ok := w.(http.Pusher); ok {
		a |= canPush
	}
	for w != nil {
		if _, ok := w.(http.Flusher); ok {
			a |= canFlush
		} else if _, ok := w.(interface{ FlushError() error }); ok {
			a |= canFlush
		}
		if _, ok := w.(http.Hijacker); ok {
			a |= canHijack
		}
		inner, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = inner.Unwrap()
	}
	return a
}

// The writers that net/http itself has. Each is one pointer wide, so that making an interface of it costs nothing.
type (
	writer1 struct{ *exchange } // HTTP/1
	writer2 struct{ *exchange } // HTTP/2
	writerF struct{ *exchange } // httptest.ResponseRecorder
)

func (w writer1) Flush()                                       { _ = w.flush() }
func (w writer1) FlushError() error                            { return w.flush() }
func (w writer1) Hijack() (net.Conn, *bufio.ReadWriter, error) { return w.hijack() }
func (w writer1) ReadFrom(r io.Reader) (int64, error)          { return w.readFrom(r) }

func (w writer2) Flush()                                           { _ = w.flush() }
func (w writer2) FlushError() error                                { return w.flush() }
func (w writer2) Push(target string, opts *http.PushOptions) error { return w.push(target, opts) }

func (w writerF) Flush()            { _ = w.flush() }
func (w writerF) FlushError() error { return w.flush() }

// The single abilities, of which writers of other makers are put together.
type (
	flusher    struct{ x *exchange }
	hijacker   struct{ x *exchange }
	readerFrom struct{ x *exchange }
	pusher     struct{ x *exchange }
)

func (w flusher) Flush()                                          { _ = w.x.flush() }
func (w flusher) FlushError() error                               { return w.x.flush() }
func (w hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error)   { return w.x.hijack() }
func (w readerFrom) ReadFrom(r io.Reader) (int64, error)          { return w.x.readFrom(r) }
func (w pusher) Push(target string, opts *http.PushOptions) error { return w.x.push(target, opts) }

// writer returns the exchange as a ResponseWriter that can do what the server's own can.
func (x *exchange) writer() http.ResponseWriter {
	f, h, r, p := flusher{x}, hijacker{x}, readerFrom{x}, pusher{x}
	can := abilitiesOf(x.rw)
	switch can {
	case 0:
		return x
	case canFlush | canHijack | canReadFrom:
		return writer1{x}
	case canFlush | canPush:
		return writer2{x}
	case canFlush:
		return writerF{x}
	case canHijack:
		return struct {
			*exchange
			hijacker
		}{x, h}
	case canReadFrom:
		return struct {
			*exchange
			readerFrom
		}{x, r}
	case canPush:
		return struct {
			*exchange
			pusher
		}{x, p}
	case canFlush | canHijack:
		return struct {
			*exchange
			flusher
			hijacker
		}{x, f, h}
	case canFlush | canReadFrom:
		return struct {
			*exchange
			flusher
			readerFrom
		}{x, f, r}
	case canHijack | canReadFrom:
		return struct {
			*exchange
			hijacker
			readerFrom
		}{x, h, r}
	case canHijack | canPush:
		return struct {
			*exchange
			hijacker
			pusher
		}{x, h, p}
	case canReadFrom | canPush:
		return struct {
			*exchange
			readerFrom
			pusher
		}{x, r, p}
	}
	return x.rareWriter(can, f, h, r, p)
}

// rareWriter has the combinations of three and four abilities with Push among them, which no known server has.
func (x *exchange) rareWriter(can abilities, f flusher, h hijacker, r readerFrom, p pusher) http.ResponseWriter {
	switch can {
	case canFlush | canHijack | canPush:
		return struct {
			*exchange
			flusher
			hijacker
			pusher
		}{x, f, h, p}
	case canFlush | canReadFrom | canPush:
		return struct {
			*exchange
			flusher
			readerFrom
			pusher
		}{x, f, r, p}
	case canHijack | canReadFrom | canPush:
		return struct {
			*exchange
			hijacker
			readerFrom
			pusher
		}{x, h, r, p}
	}
	return struct {
		*exchange
		flusher
		hijacker
		readerFrom
		pusher
	}{x, f, h, r, p}
}
