package exporters

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"go.opentelemetry.io/contrib/otelconf"
)

// fileOTLP is what the model's four OTLP exporters have in common.
type fileOTLP struct {
	protocol                           string
	endpoint, compression, headersList *string
	headers                            []otelconf.NameStringValuePair
	timeout                            *int
	caFile, certFile, keyFile          *string
	insecure                           *bool
}

func fromHTTP(e *otelconf.OTLPHttpExporter) fileOTLP {
	f := fileOTLP{
		protocol: HTTP, endpoint: e.Endpoint, compression: e.Compression, headersList: e.HeadersList, headers: e.Headers,
		timeout: e.Timeout,
	}
	if e.Encoding != nil && *e.Encoding == otelconf.OTLPHttpEncodingJson {
		f.protocol = HTTPJSON
	}
	if e.Tls != nil {
		f.caFile, f.certFile, f.keyFile = e.Tls.CaFile, e.Tls.CertFile, e.Tls.KeyFile
	}
	return f
}

func fromGRPC(e *otelconf.OTLPGrpcExporter) fileOTLP {
	f := fileOTLP{
		protocol: GRPC, endpoint: e.Endpoint, compression: e.Compression, headersList: e.HeadersList, headers: e.Headers,
		timeout: e.Timeout,
	}
	if e.Tls != nil {
		f.caFile, f.certFile, f.keyFile, f.insecure = e.Tls.CaFile, e.Tls.CertFile, e.Tls.KeyFile, e.Tls.Insecure
	}
	return f
}

// fileExporter finds the one exporter that a processor has.
func fileExporter(
	at string, which Signal, console bool, http *otelconf.OTLPHttpExporter, grpc *otelconf.OTLPGrpcExporter,
) (string, otlpSettings, error) {
	var s otlpSettings
	var err error
	switch {
	case console && http == nil && grpc == nil:
		return toConsole, s, nil
	case http != nil && !console && grpc == nil:
		s, err = fromHTTP(http).settings(at+".otlp_http", which)
	case grpc != nil && !console && http == nil:
		s, err = fromGRPC(grpc).settings(at+".otlp_grpc", which)
	default:
		err = fmt.Errorf("%s: its exporter is not one of otlp_http, otlp_grpc, console", at)
	}
	return toOTLP, s, err
}

func (f fileOTLP) settings(at string, which Signal) (s otlpSettings, err error) {
	fail := func(err error) (otlpSettings, error) { return s, fmt.Errorf("%s: %w", at, err) }
	s.protocol = f.protocol
	s.timeout = fileMillis(f.timeout, 10*time.Second)
	if f.compression != nil {
		if *f.compression != "gzip" && *f.compression != "none" {
			return fail(fmt.Errorf("compression %q is neither gzip nor none", *f.compression))
		}
		s.gzip = *f.compression == "gzip"
	}
	if s.protocol == HTTPJSON && which != Traces {
		return fail(fmt.Errorf("encoding json: the Go SDK sends %s as protobuf only", which))
	}
	if s.headers, err = f.allHeaders(); err != nil {
		return fail(err)
	}
	if s.endpoint, err = f.url(which); err != nil {
		return fail(err)
	}
	if s.endpoint.Scheme == "https" {
		if s.tls, err = f.tlsConfig(); err != nil {
			return fail(err)
		}
	}
	return s, nil
}

// allHeaders are those of the list, under those that are named.
func (f fileOTLP) allHeaders() (map[string]string, error) {
	headers := make(map[string]string)
	if f.headersList != nil {
		list := environ{vars: map[string]string{"headers_list": *f.headersList}}
		for name, value := range list.pairs("headers_list") {
			headers[name] = value
		}
		if len(list.warnings) > 0 {
			return nil, fmt.Errorf("headers_list: %s", list.warnings[0].text)
		}
	}
	for _, h := range f.headers {
		if h.Value != nil {
			headers[h.Name] = *h.Value
		}
	}
	return headers, nil
}

// url is the endpoint, which over HTTP has the signal's path already. One without a scheme is allowed over gRPC.
func (f fileOTLP) url(which Signal) (*url.URL, error) {
	endpoint := "http://localhost:4318/v1/" + string(which)
	if f.protocol == GRPC {
		endpoint = "http://localhost:4317"
	}
	if f.endpoint != nil {
		endpoint = *f.endpoint
	}
	u, err := parseEndpoint(endpoint, f.protocol)
	if errors.Is(err, errScheme) && f.protocol == GRPC {
		scheme := "https://"
		if f.insecure != nil && *f.insecure {
			scheme = "http://"
		}
		u, err = parseEndpoint(scheme+endpoint, f.protocol)
	}
	if err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	if f.protocol != GRPC && u.Path == "" {
		u.Path = "/v1/" + string(which)
	}
	return u, nil
}

func (f fileOTLP) tlsConfig() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.caFile != nil {
		pem, err := os.ReadFile(*f.caFile)
		if err != nil {
			return nil, fmt.Errorf("tls.ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.ca_file: %s holds no PEM certificate", *f.caFile)
		}
	}
	switch {
	case f.certFile != nil && f.keyFile != nil:
		pair, err := tls.LoadX509KeyPair(*f.certFile, *f.keyFile)
		if err != nil {
			return nil, fmt.Errorf("tls.cert_file and tls.key_file: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	case f.certFile != nil || f.keyFile != nil:
		return nil, errors.New("tls.cert_file and tls.key_file need each other")
	}
	return c, nil
}
