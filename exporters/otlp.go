package exporters

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"strings"
	"time"
)

// The protocols of OTLP, as in OTEL_EXPORTER_OTLP_PROTOCOL.
const (
	GRPC     = "grpc"
	HTTP     = "http/protobuf"
	HTTPJSON = "http/json"
)

// errScheme is about an endpoint such as "collector:4317".
var errScheme = errors.New("it has no scheme: write http://host:port, or https:// for TLS")

// otlpSettings are how one signal reaches its OTLP endpoint. They are complete: the exporters of the SDK are given every one,
// so that what they would read from the environment themselves does not matter.
type otlpSettings struct {
	protocol string
	endpoint *url.URL
	headers  map[string]string
	timeout  time.Duration // of one request
	gzip     bool
	tls      *tls.Config // nil for a plain connection
}

func otlp(e *environ, o *Options, which Signal) (otlpSettings, error) {
	names := func(suffix string) []string {
		return []string{"OTEL_EXPORTER_OTLP_" + which.env() + suffix, "OTEL_EXPORTER_OTLP_" + suffix}
	}
	s := otlpSettings{
		headers: e.pairs(names("HEADERS")...),
		timeout: e.millis(10*time.Second, names("TIMEOUT")...),
		gzip:    e.oneOf(or0(o.Compression, "none"), []string{"gzip", "none"}, names("COMPRESSION")...) == "gzip",
	}
	if s.headers == nil {
		s.headers = o.Headers
	}
	var err error
	if s.protocol, err = protocol(e, o, which, names("PROTOCOL")); err != nil {
		return s, err
	}
	if s.endpoint, err = endpoint(e, o, which, s.protocol); err != nil {
		return s, err
	}
	if s.endpoint.Scheme == "https" {
		s.tls = tlsConfig(e, o, names)
	}
	return s, nil
}

func or0(v, def string) string {
	if v == "" {
		return def
	}
	return v
}

func protocol(e *environ, o *Options, which Signal, names []string) (string, error) {
	accepted := []string{GRPC, HTTP, HTTPJSON}
	def := or0(o.Protocol, HTTP)
	if def != GRPC && def != HTTP && def != HTTPJSON {
		return "", fmt.Errorf("the Protocol %q is none of %s%s", def, strings.Join(accepted, ", "), didYouMean(def, accepted))
	}
	p := e.oneOf(def, accepted, names...)
	if p != HTTPJSON || which == Traces {
		return p, nil
	}
	if name, _ := e.first(names...); name != "" {
		e.warn(name, "the Go SDK sends %s as http/json not yet; http/protobuf is used, on the same port", which)
	}
	return HTTP, nil
}

// endpoint finds the URL of a signal. That of the signal alone is taken as it is; the general one, over HTTP, has the
// signal's path added.
func endpoint(e *environ, o *Options, which Signal, protocol string) (*url.URL, error) {
	suffix := "/v1/" + string(which)
	own := "OTEL_EXPORTER_OTLP_" + which.env() + "ENDPOINT"
	if u := e.url(own, protocol, which); u != nil {
		if u.Path == "" {
			u.Path = "/"
		}
		return u, nil
	}
	base := e.url("OTEL_EXPORTER_OTLP_ENDPOINT", protocol, which)
	if base == nil && o.Endpoint != "" {
		u, err := parseEndpoint(o.Endpoint, protocol)
		if err != nil {
			return nil, fmt.Errorf("the Endpoint %q: %w", redactURL(o.Endpoint), err)
		}
		base = u
	}
	if base == nil {
		base = &url.URL{Scheme: "http", Host: "localhost:4318"}
		if protocol == GRPC {
			base.Host = "localhost:4317"
		}
	}
	if protocol != GRPC {
		base.Path = path.Join("/", base.Path, suffix)
	}
	return base, nil
}

// url reads an endpoint. One without a scheme, which over gRPC is allowed, is plain or TLS as OTEL_EXPORTER_OTLP_INSECURE says.
func (e *environ) url(name, protocol string, which Signal) *url.URL {
	value := e.vars[name]
	if value == "" {
		return nil
	}
	u, err := parseEndpoint(value, protocol)
	if errors.Is(err, errScheme) {
		scheme := "https"
		if e.boolean("OTEL_EXPORTER_OTLP_"+which.env()+"INSECURE", "OTEL_EXPORTER_OTLP_INSECURE") {
			scheme = "http"
		}
		if protocol != GRPC {
			e.warn(name, "%v; %s:// is used", err, scheme)
		}
		u, err = parseEndpoint(scheme+"://"+value, protocol)
	}
	if err != nil {
		e.warn(name, "%v; it is treated as unset", err)
		return nil
	}
	return u
}

func parseEndpoint(value, protocol string) (*url.URL, error) {
	if !strings.Contains(value, "://") {
		return nil, errScheme
	}
	u, err := url.Parse(value)
	if err != nil {
		var reason *url.Error
		if errors.As(err, &reason) {
			err = reason.Err // without the URL, which may hold a password
		}
		return nil, fmt.Errorf("it is no URL: %w", err)
	}
	switch {
	case u.Scheme == "unix" && protocol == GRPC:
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("the scheme %q is neither http nor https", u.Scheme)
	case u.Hostname() == "":
		return nil, errors.New("it names no host")
	}
	return u, nil
}

// tlsConfig adds the certificates that the environment names. One that cannot be read is left out, with a warning: the
// handshake then fails where the peer wants it, and the service runs.
func tlsConfig(e *environ, o *Options, names func(string) []string) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.TLS != nil {
		c = o.TLS.Clone()
	}
	if name, file := e.first(names("CERTIFICATE")...); name != "" {
		pool := x509.NewCertPool()
		pem, err := os.ReadFile(file)
		switch {
		case err != nil:
			e.warn(name, "%v; the roots of the system are used", err)
		case !pool.AppendCertsFromPEM(pem):
			e.warn(name, "%s holds no PEM certificate; the roots of the system are used", file)
		default:
			c.RootCAs = pool
		}
	}
	certName, cert := e.first(names("CLIENT_CERTIFICATE")...)
	keyName, key := e.first(names("CLIENT_KEY")...)
	switch {
	case cert != "" && key != "":
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			e.warn(certName, "with %s: %v; no client certificate is sent", keyName, err)
			break
		}
		c.Certificates = []tls.Certificate{pair}
	case cert != "":
		e.warn(certName, "it needs CLIENT_KEY beside it; no client certificate is sent")
	case key != "":
		e.warn(keyName, "it needs CLIENT_CERTIFICATE beside it; no client certificate is sent")
	}
	return c
}

func splitList(value string) []string {
	var words []string
	for word := range strings.SplitSeq(value, ",") {
		if word = strings.TrimSpace(word); word != "" {
			words = append(words, word)
		}
	}
	return words
}
