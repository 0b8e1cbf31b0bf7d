package oshttp

import (
	"io"
	"net/http"
)

// watch returns the body of a response, which ends the call when it is done with. The body of a switched protocol can be
// written to as well, and still can afterwards.
func watch(body io.ReadCloser, c *call) io.ReadCloser {
	if w, ok := body.(io.Writer); ok && c.status == http.StatusSwitchingProtocols {
		return &upgradedBody{responseBody{body, c}, w}
	}
	return &responseBody{body, c}
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

type upgradedBody struct {
	responseBody
	io.Writer
}
