package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/go-os/go-os/control/config/driver"
)

// The defaults of URLOptions.
const (
	DefaultInterval = 30 * time.Second
	DefaultFull     = 10 * time.Minute
)

// URLOptions configure URL.
type URLOptions struct {
	// Client that asks. Default: one without a time-out of its own, since Options.Timeout is there, that follows redirects as
	// http.DefaultClient does.
	Client *http.Client
	// Header is sent with each request, such as Authorization.
	Header http.Header
	// Format of the document. Default: by the Content-Type of the answer, else by the ending of the path.
	Format string
	// Interval between two requests; a tenth of it is random. After failures it doubles up to ten times as long, and a longer
	// Retry-After is obeyed up to that. Default: DefaultInterval.
	Interval time.Duration
	// Full is how often the document is asked for without a condition, in case that the server's ETag lies. Default: DefaultFull.
	Full time.Duration
	// MaxSize of the document, in bytes. Default: DefaultMaxSize.
	MaxSize int64
}

// URL returns a document that is fetched by HTTP. It asks with If-None-Match or If-Modified-Since (RFC 9110, section 13), so that
// a document that has not changed is not sent again. An answer that is no configuration (an error, a page for people, a document
// that is cut short) leaves what was there in force. The password of a URL does not reach errors or telemetry.
func URL(address string, opts *URLOptions) Source {
	u := &urlSource{address: address, turn: make(chan struct{}, 1)}
	if opts != nil {
		u.opts = *opts
	}
	if u.opts.Client == nil {
		u.opts.Client = &http.Client{}
	}
	orDefault(&u.opts.Interval, DefaultInterval)
	orDefault(&u.opts.Full, DefaultFull)
	orDefault(&u.opts.MaxSize, DefaultMaxSize)
	u.shown = "URL"
	if parsed, err := url.Parse(address); err == nil {
		parsed.RawQuery, parsed.Fragment = "", "" // may hold tokens
		u.shown = parsed.Redacted()
	}
	return u
}

type urlSource struct {
	address string
	shown   string
	opts    URLOptions

	turn     chan struct{} // one request at a time; who has it may use what follows
	doc      *driver.Document
	etag     string
	modified string
	fetched  time.Time // without a condition
	until    time.Time // when the server may be asked again, if it said so with
	refusal  error
}

func (u *urlSource) Name() string { return "url " + u.shown }

func (u *urlSource) Read(ctx context.Context) ([]driver.Document, error) {
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
	if time.Now().Before(u.until) {
		return u.refusal
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.address, nil)
	if err != nil {
		return fmt.Errorf("%w: not a URL that can be asked", driver.ErrInvalid)
	}
	for name, values := range u.opts.Header {
		request.Header[name] = values
	}
	conditional := u.doc != nil && time.Since(u.fetched) < u.opts.Full && u.etag+u.modified != ""
	if conditional {
		setUnlessEmpty(request.Header, "If-None-Match", u.etag)
		setUnlessEmpty(request.Header, "If-Modified-Since", u.modified)
	}
	response, err := u.opts.Client.Do(request)
	if err != nil {
		return fmt.Errorf("%w: %w", driver.ErrUnavailable, withoutURL(err))
	}
	defer func() { _ = response.Body.Close() }()
	err = u.take(response, conditional)
	if wait := retryAfter(response.Header); err != nil && wait > 0 {
		u.until, u.refusal = time.Now().Add(min(wait, maxIntervals*u.opts.Interval)), err
	}
	return err
}

// maxIntervals is how many times Interval is waited at most.
const maxIntervals = 10

func setUnlessEmpty(h http.Header, name, value string) {
	if value != "" {
		h.Set(name, value)
	}
}

// withoutURL leaves out the address, which may hold a token.
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
		return fmt.Errorf("%w: the server says that nothing has changed, without having been asked", driver.ErrUnavailable)
	case code == http.StatusNotFound, code == http.StatusGone:
		return fmt.Errorf("%w: the server answers %s", driver.ErrNotFound, response.Status)
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
		return fmt.Errorf("%w: the answer ends too early: %w", driver.ErrUnavailable, err)
	case errors.Is(err, driver.ErrTooLarge):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", driver.ErrUnavailable, err)
	}
	u.doc = &driver.Document{Name: u.shown, Format: format, Data: data}
	u.etag, u.modified, u.fetched = response.Header.Get("ETag"), response.Header.Get("Last-Modified"), time.Now()
	return nil
}

// format tells what the document is written in.
func (u *urlSource) format(contentType string) (string, error) {
	if u.opts.Format != "" {
		return u.opts.Format, nil
	}
	kind, _, _ := mime.ParseMediaType(contentType)
	_, sub, _ := strings.Cut(kind, "/")
	switch {
	case kind == "text/html", kind == "application/xhtml+xml":
		return "", fmt.Errorf("%w: the server answers with a page for people (%s): is it a login page?", driver.ErrInvalid, kind)
	case sub == JSON || strings.HasSuffix(sub, "+json"):
		return JSON, nil
	case sub == YAML || sub == "x-yaml" || strings.HasSuffix(sub, "+yaml"):
		return YAML, nil
	case sub == TOML:
		return TOML, nil
	}
	if parsed, err := url.Parse(u.address); err == nil {
		if _, known := grammars[formatOf(parsed.Path)]; known {
			return formatOf(parsed.Path), nil
		}
		return "", fmt.Errorf("%w: neither the Content-Type %q nor %q tells the format: give it with the source", driver.ErrInvalid, kind, path.Base(parsed.Path))
	}
	return "", driver.ErrInvalid
}

func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// Watch asks every now and then, and calls changed when the answer is another one.
func (u *urlSource) Watch(ctx context.Context, changed func(error)) error {
	changed(nil)
	last, failures := "", 0
	timer := time.NewTimer(u.next(0))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		now, failed := u.state(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if failures++; !failed {
			failures = 0
		}
		if now != last {
			last = now
			changed(nil)
		}
		timer.Reset(u.next(failures))
	}
}

// state asks, and sums up what came of it.
func (u *urlSource) state(ctx context.Context) (text string, failed bool) {
	ctx, cancel := context.WithTimeout(ctx, DefaultTimeout)
	defer cancel()
	docs, err := u.Read(ctx)
	if err != nil {
		return "error: " + err.Error(), true
	}
	return docs[0].Format + " " + string(docs[0].Data), false
}

// next returns how long to wait.
func (u *urlSource) next(failures int) time.Duration {
	wait := min(u.opts.Interval<<min(failures, 4), maxIntervals*u.opts.Interval)
	return wait - wait/10 + rand.N(wait/10+1)
}
