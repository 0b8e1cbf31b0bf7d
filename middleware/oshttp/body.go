package oshttp

import "io"

// watch returns the body of a response, which ends the call when it is done with. It has the optional methods of the body
// that it stands before: that of a switched protocol can be written to, and closed for writing alone.
func watch(body io.ReadCloser, c *call) io.ReadCloser {
	return bodies[bodyAbilitiesOf(body)](&responseBody{body, c})
}

type responseBody struct {
	io.ReadCloser
	call *call
}

// Read implements io.Reader.
func (b *responseBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == io.EOF:
		b.call.end(nil)
	case err != nil:
		b.call.end(err)
	}
	return n, err
}

// Close implements io.Closer. The call ends first: closing may wait for the network.
func (b *responseBody) Close() error {
	b.call.end(nil)
	return b.ReadCloser.Close()
}

// writeTo is WriteTo of the bodies that have it. An error of the destination is not one of the call, which goes on until the
// body is closed.
func (b *responseBody) writeTo(w io.Writer) (int64, error) {
	to := &destination{Writer: w}
	n, err := b.ReadCloser.(io.WriterTo).WriteTo(to)
	if !to.failed {
		b.call.end(err)
	}
	return n, err
}

// destination notices that it failed.
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

// The single abilities of a body.
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

// bodies has a body for each set of abilities.
var bodies = [allBodyAbilities + 1]func(*responseBody) io.ReadCloser{
	0: func(b *responseBody) io.ReadCloser { return b },
	bodyWritesTo: func(b *responseBody) io.ReadCloser {
		return struct {
			*responseBody
			bodyWriterTo
		}{b, bodyWriterTo{b}}
	},
	bodyWrites: func(b *responseBody) io.ReadCloser {
		return struct {
			*responseBody
			bodyWriter
		}{b, bodyWriter{b}}
	},
	bodyWritesTo | bodyWrites: func(b *responseBody) io.ReadCloser {
		return struct {
			*responseBody
			bodyWriterTo
			bodyWriter
		}{b, bodyWriterTo{b}, bodyWriter{b}}
	},
	bodyReadsFrom: func(b *responseBody) io.ReadCloser {
		return struct {
			*responseBody
			bodyReaderFrom
		}{b, bodyReaderFrom{b}}
	},
	bodyWritesTo | bodyReadsFrom: func(b *responseBody) io.ReadCloser {
		return struct {
			*responseBody
			bodyWriterTo
			bodyReaderFrom
		}{b, bodyWriterTo{b}, bodyReaderFrom{b}}
	},
	bodyWrites | bodyReadsFrom: func(b *responseBody) io.ReadCloser {
		return struct {
			*responseBody
			bodyWriter
			bodyReaderFrom
		}{b, bodyWriter{b}, bodyReaderFrom{b}}
	},
	bodyWritesTo | bodyWrites | bodyReadsFrom: func(b *responseBody) io.ReadCloser {
		return struct {
			*responseBody
			bodyWriterTo
			bodyWriter
			bodyReaderFrom
		}{b, bodyWriterTo{b}, bodyWriter{b}, bodyReaderFrom{b}}
	},
	bodyClosesWrite: func(b *responseBody) io.ReadCloser {
		return struct {
			*responseBody
			bodyCloseWriter
		}{b, bodyCloseWriter{b}}
	},
	bodyWritesTo | bodyClosesWrite: func(b *responseBody) io.ReadCloser {
		return struct {
			*responseBody
			bodyWriterTo
			bodyCloseWriter
		}{b, bodyWriterTo{b}, bodyCloseWriter{b}}
	},
	bodyWrites | bodyClosesWrite: func(b *responseBody) io.ReadCloser {
		return struct {
			*responseBody
			bodyWriter
			bodyCloseWriter
		}{b, bodyWriter{b}, bodyCloseWriter{b}}
	},
	bodyWritesTo | bodyWrites | bodyClosesWrite: func(b *responseBody) io.ReadCloser {
		return struct {
			*responseBody
			bodyWriterTo
			bodyWriter
			bodyCloseWriter
		}{b, bodyWriterTo{b}, bodyWriter{b}, bodyCloseWriter{b}}
	},
	bodyReadsFrom | bodyClosesWrite: func(b *responseBody) io.ReadCloser {
		return struct {
			*responseBody
			bodyReaderFrom
			bodyCloseWriter
		}{b, bodyReaderFrom{b}, bodyCloseWriter{b}}
	},
	bodyWritesTo | bodyReadsFrom | bodyClosesWrite: func(b *responseBody) io.ReadCloser {
		return struct {
			*responseBody
			bodyWriterTo
			bodyReaderFrom
			bodyCloseWriter
		}{b, bodyWriterTo{b}, bodyReaderFrom{b}, bodyCloseWriter{b}}
	},
	bodyWrites | bodyReadsFrom | bodyClosesWrite: func(b *responseBody) io.ReadCloser {
		return struct {
			*responseBody
			bodyWriter
			bodyReaderFrom
			bodyCloseWriter
		}{b, bodyWriter{b}, bodyReaderFrom{b}, bodyCloseWriter{b}}
	},
	bodyWritesTo | bodyWrites | bodyReadsFrom | bodyClosesWrite: func(b *responseBody) io.ReadCloser {
		return struct {
			*responseBody
			bodyWriterTo
			bodyWriter
			bodyReaderFrom
			bodyCloseWriter
		}{b, bodyWriterTo{b}, bodyWriter{b}, bodyReaderFrom{b}, bodyCloseWriter{b}}
	},
}
