package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/control/config/internal/document"
	"github.com/go-os/go-os/internal/backoff"
	"github.com/go-os/go-os/internal/defaults"
)

// The defaults of URLOptions.
const (
	DefaultInterval = 30 * time.Second
	DefaultFull     = 10 * time.Minute
)

// URLOptions configure URL.
type URLOptions struct {
	// Client sends the requests. URL applies its own rules for redirects before the CheckRedirect of the client. Default: a client without
	// a timeout, since Options.Timeout applies.
	Client *http.Client
	// Header is sent with each request, such as Authorization, but only to the host of the URL. Default: none.
	Header http.Header
	// Format of the document: YAML, JSON or TOML. Default: by the Content-Type of the response, or else by the extension of the path.
	Format string
	// Interval between two requests; a tenth of it is random. Options.Recheck and Options.Backoff do not apply. With each consecutive
	// failure after the first the interval doubles, up to ten times Interval. A longer Retry-After is obeyed up to that limit. Default:
	// DefaultInterval.
	Interval time.Duration
	// Full is the interval between two requests without a condition, in case the ETag of the server is wrong. Default: DefaultFull.
	Full time.Duration
	// MaxSize is the largest accepted document, in bytes. Default: DefaultMaxSize.
	MaxSize int64
}

// URL returns a source that fetches a document by HTTP. Requests have If-None-Match or If-Modified-Since (RFC 9110, section 13), so that an
// unchanged document is not sent again. After a response that is not a configuration (an error, an HTML page, a truncated document), the
// last document stays in force. The statuses 401 and 403 are ErrDenied, 404 and 410 ErrNotFound, and all others ErrUnavailable. The query
// and the password of the URL do not reach errors or telemetry.
//
// A redirect is followed only on the same host and port, or from http to https on the same host and their default ports. Another host must
// neither provide the configuration nor receive URLOptions.Header. Load returns ErrInvalid if the address is not an http or https URL, if
// the format is none of the three, or if an option is negative.
func URL(address string, opts *URLOptions) Source {
	u := &urlSource{address: address, turn: make(chan struct{}, 1)}
	var badOptions, badAddress error
	u.opts, badOptions = opts.withDefaults()
	u.client = restrict(u.opts.Client)
	u.shown, badAddress = shownURL(address)
	u.invalid = errors.Join(badAddress, badOptions)
	if u.opts.Format != "" {
		u.invalid = errors.Join(u.invalid, document.CheckFormat(u.opts.Format, "set URLOptions.Format to one of them"))
	}
	return u
}

// withDefaults returns the options with defaults in place of zeros, or ErrInvalid if one of them is negative.
func (o *URLOptions) withDefaults() (URLOptions, error) {
	out := defaults.Copy(o)
	err := errors.Join(
		defaults.Fill("config.URLOptions.Interval", &out.Interval, DefaultInterval),
		defaults.Fill("config.URLOptions.Full", &out.Full, DefaultFull),
		defaults.Fill("config.URLOptions.MaxSize", &out.MaxSize, DefaultMaxSize),
	)
	return out, err
}

// shownURL returns an address without parts that may contain a password or a token, and why it cannot be fetched. An address that is not a
// URL may contain one anywhere, so nothing of it is shown.
func shownURL(address string) (shown string, err error) {
	const remedy = "write http://host/path or https://host/path; for a file use File"
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" || parsed.Opaque != "" {
		return "", fmt.Errorf("%w: the address of URL has no scheme or no host: %s", driver.ErrInvalid, remedy)
	}
	parsed.RawQuery, parsed.Fragment = "", ""
	if scheme := strings.ToLower(parsed.Scheme); scheme != "http" && scheme != "https" {
		err = fmt.Errorf("%w: the address of URL has the scheme %q: %s", driver.ErrInvalid, scheme, remedy)
	}
	if port := parsed.Port(); port != "" {
		if _, bad := strconv.ParseUint(port, 10, 16); bad != nil {
			err = fmt.Errorf("%w: the address of URL has the port %s: the largest is 65535", driver.ErrInvalid, port)
		}
	}
	return parsed.Redacted(), err
}

type urlSource struct {
	address string
	shown   string // the address without passwords and tokens
	invalid error  // why the source can never work
	opts    URLOptions
	client  *http.Client

	turn     chan struct{} // one request at a time; guards the fields below
	doc      *driver.Document
	etag     string
	modified string
	fetched  time.Time // time of the last request without a condition

	mu      sync.Mutex
	until   time.Time // no request before this time, by Retry-After of
	refusal error
}

func (u *urlSource) Name() string { return strings.TrimSpace("url " + u.shown) }

func (u *urlSource) Read(ctx context.Context) ([]driver.Document, error) {
	if u.invalid != nil {
		return nil, u.invalid
	}
	select {
	case u.turn <- struct{}{}:
		defer func() { <-u.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", driver.ErrUnavailable, ctx.Err())
	}
	if err := u.fetch(ctx); err != nil {
		return nil, err
	}
	return []driver.Document{*u.doc}, nil
}

// fetch brings the document up to date.
func (u *urlSource) fetch(ctx context.Context) error {
	if wait, refusal := u.refused(); wait > 0 {
		return refusal
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.address, nil)
	if err != nil {
		return fmt.Errorf("%w: not a valid URL", driver.ErrInvalid)
	}
	for name, values := range u.opts.Header {
		request.Header[name] = values
	}
	conditional := u.doc != nil && time.Since(u.fetched) < u.opts.Full && u.etag+u.modified != ""
	if conditional {
		setUnlessEmpty(request.Header, "If-None-Match", u.etag)
		setUnlessEmpty(request.Header, "If-Modified-Since", u.modified)
	}
	response, err := u.client.Do(request)
	if err != nil {
		return fmt.Errorf("%w: %w", driver.ErrUnavailable, withoutURL(err))
	}
	defer func() { _ = response.Body.Close() }()
	err = u.take(response, conditional)
	if wait := retryAfter(response.Header); err != nil && wait > 0 {
		u.refuse(min(wait, u.opts.longest()), err)
	}
	return err
}

func (u *urlSource) refuse(wait time.Duration, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.until, u.refusal = time.Now().Add(wait), err
}

// refused returns the remaining wait of the last Retry-After, and the error of that response.
func (u *urlSource) refused() (time.Duration, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return time.Until(u.until), u.refusal
}

// longest returns the longest wait between two requests: ten times Interval.
func (o *URLOptions) longest() time.Duration {
	const intervals = 10
	return min(o.Interval, math.MaxInt64/intervals) * intervals
}

func setUnlessEmpty(h http.Header, name, value string) {
	if value != "" {
		h.Set(name, value)
	}
}

// withoutURL removes the address from an error, since it may contain a token.
func withoutURL(err error) error {
	var inner *url.Error
	if errors.As(err, &inner) {
		return inner.Err
	}
	return err
}

func (u *urlSource) take(response *http.Response, conditional bool) error {
	switch code := response.StatusCode; {
	case code == http.StatusNotModified && conditional:
		return nil
	case code == http.StatusNotModified:
		return fmt.Errorf("%w: the server answers 304 Not Modified to a request without a condition", driver.ErrUnavailable)
	case code == http.StatusNotFound, code == http.StatusGone:
		return fmt.Errorf("%w: the server answers %s", driver.ErrNotFound, response.Status)
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return fmt.Errorf("%w: the server answers %s: check URLOptions.Header", driver.ErrDenied, response.Status)
	case code != http.StatusOK:
		return fmt.Errorf("%w: the server answers %s", driver.ErrUnavailable, response.Status)
	}
	format, err := u.format(response.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	data, err := readLimited(response.Body, u.opts.MaxSize)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: the response is truncated: %w", driver.ErrUnavailable, err)
	case errors.Is(err, driver.ErrTooLarge):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", driver.ErrUnavailable, err)
	}
	u.doc = &driver.Document{Name: u.shown, Format: format, Data: data}
	u.etag, u.modified, u.fetched = response.Header.Get("ETag"), response.Header.Get("Last-Modified"), time.Now()
	return nil
}

// format returns the format of the document.
func (u *urlSource) format(contentType string) (string, error) {
	if u.opts.Format != "" {
		return u.opts.Format, nil
	}
	kind, _, _ := mime.ParseMediaType(contentType)
	_, sub, _ := strings.Cut(kind, "/")
	switch {
	case kind == "text/html", kind == "application/xhtml+xml":
		return "", fmt.Errorf("%w: the server answers with %s: is it a login page?", driver.ErrInvalid, kind)
	case sub == JSON || strings.HasSuffix(sub, "+json"):
		return JSON, nil
	case sub == YAML || sub == "x-yaml" || strings.HasSuffix(sub, "+yaml"):
		return YAML, nil
	case sub == TOML:
		return TOML, nil
	}
	if parsed, err := url.Parse(u.address); err == nil {
		if document.KnownFormat(document.FormatOf(parsed.Path)) {
			return document.FormatOf(parsed.Path), nil
		}
		return "", fmt.Errorf("%w: no format known for the Content-Type %q and the name %q: set URLOptions.Format", driver.ErrInvalid, kind, path.Base(parsed.Path))
	}
	return "", driver.ErrInvalid
}

// retryAfter returns the wait that the server asks for. A date is relative to the Date of the response, since the clocks may differ.
func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0
	}
	return max(0, at.Sub(now))
}

// Next implements driver.Poller.
func (u *urlSource) Next(failures int) time.Duration {
	wait := backoff.Exponential(failures-1, u.opts.Interval, u.opts.longest())
	refused, _ := u.refused()
	return max(backoff.Jitter(wait, 0.1), refused)
}

// errRedirect: a redirect is not followed.
var errRedirect = errors.New("redirect refused")

// restrict returns a copy of a client that follows no redirect to another host.
func restrict(given *http.Client) *http.Client {
	var c http.Client
	if given != nil {
		c = *given
	}
	next := c.CheckRedirect
	c.CheckRedirect = func(request *http.Request, via []*http.Request) error {
		const most = 10 // as in net/http
		from, to := via[0].URL, request.URL
		switch {
		case len(via) >= most:
			return fmt.Errorf("%w after %d redirects", errRedirect, most)
		case !sameServer(from, to):
			return fmt.Errorf("%w: it leads to %s://%s: if that is the right server, configure its URL", errRedirect, to.Scheme, to.Host)
		case next != nil:
			return next(request, via)
		}
		return nil
	}
	return &c
}

// sameServer reports whether a redirect stays on the same server, without losing encryption.
func sameServer(from, to *url.URL) bool {
	if !strings.EqualFold(from.Hostname(), to.Hostname()) {
		return false
	}
	a, b := portOf(from), portOf(to)
	return from.Scheme == to.Scheme && a == b || from.Scheme == "http" && to.Scheme == "https" && a == "80" && b == "443"
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}
