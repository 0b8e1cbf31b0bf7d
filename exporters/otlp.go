package exporters

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// The protocols of OTLP, by their names in OTEL_EXPORTER_OTLP_PROTOCOL.
const (
	GRPC     = "grpc"
	HTTP     = "http/protobuf"
	HTTPJSON = "http/json"
)

// errScheme reports an endpoint without a scheme, such as "collector:4317".
var errScheme = errors.New("it has no scheme: write http://host:port, or https:// for TLS")

// otlpSettings describe how one signal reaches its OTLP endpoint. They are complete: the SDK's exporters receive every setting, so that
// they read none from the environment.
type otlpSettings struct {
	protocol string
	endpoint endpoint
	headers  map[string]string
	timeout  time.Duration // of one request; zero is none
	gzip     bool
	tls      *tls.Config // nil for a plain connection
}

// otlp reads the settings of one signal. It reports false if no OTLP endpoint is set, unless must is set; then it uses the
// specification's default endpoint.
func otlp(e *environ, o *Options, which Signal, must bool) (s otlpSettings, found bool, err error) {
	names := func(suffix string) []string {
		return []string{"OTEL_EXPORTER_OTLP_" + which.env() + suffix, "OTEL_EXPORTER_OTLP_" + suffix}
	}
	protocol, err := protocol(e, o, which)
	if err != nil {
		return s, false, err
	}
	at, found, err := findEndpoint(e, o, which, protocol, must)
	if err != nil || !found {
		return s, false, err
	}
	s = otlpSettings{
		protocol: protocol, endpoint: at,
		headers: e.headers(protocol, names("HEADERS")...),
		timeout: e.timeout(10*time.Second, names("TIMEOUT")...),
		gzip:    e.oneOf(or0(o.Compression, "none"), []string{"gzip", "none"}, names("COMPRESSION")...) == "gzip",
	}
	if protocol == HTTPJSON && which != Traces {
		if name, _ := e.first(names("PROTOCOL")...); name != "" {
			e.warn(name, "the Go SDK sends %s as http/json not yet; http/protobuf is used, on the same port", which)
		}
		s.protocol = HTTP
	}
	if s.headers == nil {
		if err := o.checkHeaders(s.protocol); err != nil {
			return s, false, err
		}
		s.headers = o.Headers
	}
	if s.endpoint.secure {
		s.tls = tlsConfig(e, o, names)
	}
	return s, true, nil
}

func or0(v, def string) string {
	if v == "" {
		return def
	}
	return v
}

func protocol(e *environ, o *Options, which Signal) (string, error) {
	accepted := []string{GRPC, HTTP, HTTPJSON}
	def := or0(o.Protocol, HTTP)
	if !slices.Contains(accepted, def) {
		return "", fmt.Errorf("the Protocol %q is none of %s%s", def, strings.Join(accepted, ", "), didYouMean(def, accepted))
	}
	return e.oneOf(def, accepted, "OTEL_EXPORTER_OTLP_"+which.env()+"PROTOCOL", envProtocol), nil
}

// tlsConfig adds the certificates that the environment names. An unreadable certificate is left out, with a warning. The service runs;
// the handshake fails only if the peer requires the certificate.
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
