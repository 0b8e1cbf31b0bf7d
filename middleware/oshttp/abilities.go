package oshttp

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// A handler discovers the abilities of a ResponseWriter by asserting interfaces, so a wrapper must have exactly the optional
// methods of the wrapped writer. One too few breaks websockets; one too many offers a flush that does nothing. Flushing and
// hijacking may also come from deeper, through Unwrap, by the rule of http.ResponseController. Reading, pushing and notifying
// must not: they would bypass an outer writer that changes the body.
//
// Methods that return an error may always be present: they return errors.ErrUnsupported.

type abilities uint8

const (
	canFlush abilities = 1 << iota
	canHijack
	canReadFrom
	canPush
	canNotify
	allAbilities = 1<<iota - 1
)

// closeNotifier is http.CloseNotifier. It is deprecated, but frameworks still require it: gin's Stream panics without it.
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

// The writers for those of net/http. Each is one pointer wide, so that converting it to an interface does not allocate.
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

// The single abilities, which the table writers combines for the writers of other packages.
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

// writer returns the exchange as a ResponseWriter with the abilities of the server's own.
func (x *exchange) writer() http.ResponseWriter { return writers[abilitiesOf(x.rw)](x) }
