package oshttp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/router"
	"github.com/go-os/go-os/internal/fault"
)

var (
	errNoResponse   = errors.New("oshttp: the base RoundTripper returned neither a response nor an error; fix it to return one")
	errBasePanicked = errors.New("oshttp: the base RoundTripper panicked")
)

// errorType returns the error.type of a call: that of its error, or the status code from 400 on, which for a client is a
// failure too. A call that its caller cancelled has not failed.
func (c *call) errorType(err error) string {
	switch {
	case errors.Is(err, errBasePanicked):
		return faultPanic
	case c.canceled(err):
		return ""
	case err != nil:
		return classify(err)
	case c.status > 599:
		return faultOther
	case c.status >= 400:
		return statusText(c.status)
	}
	return ""
}

// canceled reports whether err means that the caller cancelled the call.
func (c *call) canceled(err error) bool {
	ctx := c.caller.Context()
	if err == nil || !errors.Is(ctx.Err(), context.Canceled) {
		return false
	}
	return errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))
}

// classify maps an error of a RoundTripper to one of a dozen names. The type of the error is too coarse: most are
// *net.OpError.
func classify(err error) string {
	var (
		dns     *net.DNSError
		lookup  *discovery.Error
		routing *router.Error
		timeout interface{ Timeout() bool }
		cert    *tls.CertificateVerificationError
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		record  tls.RecordHeaderError
		alert   tls.AlertError
	)
	switch {
	case errors.Is(err, context.Canceled):
		return faultCanceled
	case errors.Is(err, context.DeadlineExceeded):
		return faultTimeout
	case errors.As(err, &timeout) && timeout.Timeout():
		return faultTimeout
	case errors.As(err, &dns), errors.As(err, &lookup):
		return "name_resolution_error"
	case errors.As(err, &routing):
		return fault.Type(err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection_refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection_reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "connection_closed"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	case errors.As(err, &cert), errors.As(err, &unknown), errors.As(err, &host):
		return "server_certificate_invalid"
	case errors.As(err, &record), errors.As(err, &alert):
		return "tls_error"
	}
	return faultOther
}
