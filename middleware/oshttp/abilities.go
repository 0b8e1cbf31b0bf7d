package oshttp

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// A handler learns what a ResponseWriter can do by asserting interfaces, so a writer that stands before another must have
// exactly its optional methods: one too few breaks websockets, one too many makes a handler believe in a flush that does
// nothing. Flushing and hijacking may also sit deeper, behind Unwrap, by the rule of http.ResponseController. Reading, pushing
// and notifying must not: what an outer writer does to the body would be bypassed.
//
// Methods that return an error may be there in any case: they return errors.ErrUnsupported.

type abilities uint8

const (
	canFlush abilities = 1 << iota
	canHijack
	canReadFrom
	canPush
	canNotify
	allAbilities = 1<<iota - 1
)

// closeNotifier is http.CloseNotifier. It is deprecated, and frameworks still ask for it: gin's Stream panics without it.
type closeNotifier interface{ CloseNotify() <-chan bool }

func abilitiesOf(w http.ResponseWriter) abilities {
	var a abilities
	if _, ok := w.(io.ReaderFrom); ok {
		a |= canReadFrom
	}
	if _, ok := w.(http.Pusher); ok {
		a |= canPush
	}
	if _, ok := w.(closeNotifier); ok {
		a |= canNotify
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
func (w writer1) CloseNotify() <-chan bool                     { return w.closeNotify() }

func (w writer2) Flush()                                           { _ = w.flush() }
func (w writer2) FlushError() error                                { return w.flush() }
func (w writer2) Push(target string, opts *http.PushOptions) error { return w.push(target, opts) }
func (w writer2) CloseNotify() <-chan bool                         { return w.closeNotify() }

func (w writerF) Flush()            { _ = w.flush() }
func (w writerF) FlushError() error { return w.flush() }

//go:generate go run ../../internal/tooling/combine -out writers_gen.go -table writers -of exchange -as http.ResponseWriter canFlush=flusher canHijack=hijacker canReadFrom=readerFrom canPush=pusher canNotify=notifier canFlush:writerF canFlush+canHijack+canReadFrom+canNotify:writer1 canFlush+canPush+canNotify:writer2

// The single abilities, of which the table writers puts together the writers of other makers.
type (
	flusher    struct{ x *exchange }
	hijacker   struct{ x *exchange }
	readerFrom struct{ x *exchange }
	pusher     struct{ x *exchange }
	notifier   struct{ x *exchange }
)

func (w flusher) Flush()                                          { _ = w.x.flush() }
func (w flusher) FlushError() error                               { return w.x.flush() }
func (w hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error)   { return w.x.hijack() }
func (w readerFrom) ReadFrom(r io.Reader) (int64, error)          { return w.x.readFrom(r) }
func (w pusher) Push(target string, opts *http.PushOptions) error { return w.x.push(target, opts) }
func (w notifier) CloseNotify() <-chan bool                       { return w.x.closeNotify() }

// writer returns the exchange as a ResponseWriter that can do what the server's own can.
func (x *exchange) writer() http.ResponseWriter { return writers[abilitiesOf(x.rw)](x) }
