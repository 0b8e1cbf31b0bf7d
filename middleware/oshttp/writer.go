package oshttp

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"time"
)

// Header implements http.ResponseWriter.
func (x *exchange) Header() http.Header { return x.rw.Header() }

// WriteHeader implements http.ResponseWriter. Informational responses pass and leave the final status open.
func (x *exchange) WriteHeader(status int) {
	if status == http.StatusMisdirectedRequest && x.fault != faultMisdirected {
		delete(x.rw.Header(), misdirectedHeader) // of another server: the client must not repeat a request that this handler has seen
	}
	final := status >= 200 || status == http.StatusSwitchingProtocols
	if final {
		x.answering(status)
	}
	x.rw.WriteHeader(status)
	if final {
		x.wrote(status)
	}
}

// answering is called when the response is about to begin, while its header can be changed.
func (x *exchange) answering(status int) {
	if x.status == 0 && !x.hijacked {
		x.answerWork(status)
		x.reportLoad()
	}
}

// wrote records that the response has begun. After the handler hijacked the connection, there is no response.
func (x *exchange) wrote(status int) {
	if x.status != 0 || x.hijacked {
		return
	}
	x.answering(status)
	x.status = status
	x.late = x.req.Context().Err() != nil
	if status == http.StatusSwitchingProtocols || x.caller.Method == http.MethodConnect && status < 300 {
		x.upgraded()
	}
}

// upgraded lifts the deadline, which was for the handshake.
func (x *exchange) upgraded() {
	if x.handshake != nil {
		x.handshake.lift()
	}
}

// Write implements http.ResponseWriter.
func (x *exchange) Write(p []byte) (int, error) {
	x.wrote(http.StatusOK)
	n, err := x.rw.Write(p)
	return x.count(n, err)
}

// WriteString implements io.StringWriter, so that io.WriteString need not copy: the writers of net/http have it.
func (x *exchange) WriteString(s string) (int, error) {
	x.wrote(http.StatusOK)
	n, err := io.WriteString(x.rw, s)
	return x.count(n, err)
}

func (x *exchange) count(n int, err error) (int, error) {
	x.note(int64(n), err)
	return n, err
}

// note counts the written bytes. The server accepts the body of an answer to HEAD, but does not send it.
func (x *exchange) note(n int64, err error) {
	if x.caller.Method != http.MethodHead {
		x.written += n
	}
	if err != nil {
		x.failed = true
	}
}

// Unwrap lets http.ResponseController reach the further abilities of the server's writer.
func (x *exchange) Unwrap() http.ResponseWriter { return x.rw }

// SetReadDeadline does what http.ResponseController does, for handlers that call the writer directly.
func (x *exchange) SetReadDeadline(at time.Time) error {
	return http.NewResponseController(x.rw).SetReadDeadline(at)
}

// SetWriteDeadline does what http.ResponseController does, for handlers that call the writer directly.
func (x *exchange) SetWriteDeadline(at time.Time) error {
	return http.NewResponseController(x.rw).SetWriteDeadline(at)
}

// EnableFullDuplex does what http.ResponseController does, for handlers that call the writer directly.
func (x *exchange) EnableFullDuplex() error {
	return http.NewResponseController(x.rw).EnableFullDuplex()
}

// flush implements Flush and FlushError of the writers that have them.
func (x *exchange) flush() error {
	if x.hijacked {
		return http.ErrHijacked // the server's own writer would panic
	}
	x.wrote(http.StatusOK)
	err := http.NewResponseController(x.rw).Flush()
	if err != nil {
		x.failed = true
	}
	return err
}

// hijack implements Hijack of the writers that have it.
func (x *exchange) hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buf, err := http.NewResponseController(x.rw).Hijack()
	if err == nil {
		x.hijacked = true
		x.endAdmission()
		x.upgraded()
	}
	return conn, buf, err
}

// readFrom implements ReadFrom of the writers that have it: a file goes to a socket without passing through the
// process.
func (x *exchange) readFrom(r io.Reader) (int64, error) {
	x.wrote(http.StatusOK)
	n, err := x.rw.(io.ReaderFrom).ReadFrom(r)
	x.note(n, err)
	return n, err
}

// push implements Push of the writers that have it.
func (x *exchange) push(target string, opts *http.PushOptions) error {
	return x.rw.(http.Pusher).Push(target, opts)
}

// closeNotify implements CloseNotify of the writers that have it.
func (x *exchange) closeNotify() <-chan bool { return x.rw.(closeNotifier).CloseNotify() }
