package oshttp

import "io"

// reading is what ends with the body of a response.
type reading interface {
	// end is called when the body was read to its end, with nil, or has failed. Only the first call has an effect.
	end(err error) error
	// closeBody closes the body, and ends.
	closeBody(body io.Closer) error
}

// watch returns the body of a response, which ends the reading when it is read to the end or closed. It has the optional methods
// of the wrapped body: after a protocol switch it can be written to, and closed for writing alone.
func watch(body io.ReadCloser, r reading) io.ReadCloser {
	return bodies[bodyAbilitiesOf(body)](&responseBody{body, r})
}

type responseBody struct {
	io.ReadCloser
	reading reading
}

// Read implements io.Reader.
func (b *responseBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == io.EOF:
		_ = b.reading.end(nil)
	case err != nil:
		_ = b.reading.end(err)
	}
	return n, err
}

// Close implements io.Closer.
func (b *responseBody) Close() error { return b.reading.closeBody(b.ReadCloser) }

// closeBody ends the call first, because closing may wait for the network.
func (c *call) closeBody(body io.Closer) error {
	_ = c.end(nil)
	return body.Close()
}

// writeTo is WriteTo of the bodies that have it. An error of the destination does not end the call, which continues until the
// body is closed.
func (b *responseBody) writeTo(w io.Writer) (int64, error) {
	to := &destination{Writer: w}
	n, err := b.ReadCloser.(io.WriterTo).WriteTo(to)
	if !to.failed {
		_ = b.reading.end(err)
	}
	return n, err
}

// destination records whether writing to it failed.
type destination struct {
	io.Writer
	failed bool
}

// Write implements io.Writer.
func (d *destination) Write(p []byte) (int, error) {
	n, err := d.Writer.Write(p)
	d.failed = d.failed || err != nil
	return n, err
}

type bodyAbilities uint8

const (
	bodyWritesTo bodyAbilities = 1 << iota
	bodyWrites
	bodyReadsFrom
	bodyClosesWrite
	allBodyAbilities = 1<<iota - 1
)

type closeWriter interface{ CloseWrite() error }

func bodyAbilitiesOf(body io.ReadCloser) bodyAbilities {
	var a bodyAbilities
	if _, ok := body.(io.WriterTo); ok {
		a |= bodyWritesTo
	}
	if _, ok := body.(io.Writer); ok {
		a |= bodyWrites
	}
	if _, ok := body.(io.ReaderFrom); ok {
		a |= bodyReadsFrom
	}
	if _, ok := body.(closeWriter); ok {
		a |= bodyClosesWrite
	}
	return a
}

//go:generate go run ../../internal/tooling/combine -out bodies_gen.go -table bodies -of responseBody -as io.ReadCloser bodyWritesTo=bodyWriterTo bodyWrites=bodyWriter bodyReadsFrom=bodyReaderFrom bodyClosesWrite=bodyCloseWriter

// The single abilities of a body, which the table bodies combines.
type (
	bodyWriterTo    struct{ b *responseBody }
	bodyWriter      struct{ b *responseBody }
	bodyReaderFrom  struct{ b *responseBody }
	bodyCloseWriter struct{ b *responseBody }
)

func (a bodyWriterTo) WriteTo(w io.Writer) (int64, error) { return a.b.writeTo(w) }
func (a bodyWriter) Write(p []byte) (int, error)          { return a.b.ReadCloser.(io.Writer).Write(p) }
func (a bodyReaderFrom) ReadFrom(r io.Reader) (int64, error) {
	return a.b.ReadCloser.(io.ReaderFrom).ReadFrom(r)
}
func (a bodyCloseWriter) CloseWrite() error { return a.b.ReadCloser.(closeWriter).CloseWrite() }
