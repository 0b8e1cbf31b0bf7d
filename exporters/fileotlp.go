package exporters

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/otelconf"
)

// fileOTLP holds the settings that the model's four OTLP exporters share.
type fileOTLP struct {
	protocol                           string
	endpoint, compression, headersList *string
	headers                            []otelconf.NameStringValuePair
	timeout                            *int
	caFile, certFile, keyFile          *string
	insecure                           *bool
	ignore                             func(section, why string)
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

// exporter returns the one exporter of a processor.
func (t translation) exporter(
	at string, which Signal, console bool, http *otelconf.OTLPHttpExporter, grpc *otelconf.OTLPGrpcExporter,
) (string, otlpSettings, error) {
	var s otlpSettings
	var err error
	switch {
	case console && http == nil && grpc == nil:
		return toConsole, s, nil
	case http != nil && !console && grpc == nil:
		f := fromHTTP(http)
		f.ignore = t.ignore
		s, err = f.settings(at+".otlp_http", which)
	case grpc != nil && !console && http == nil:
		f := fromGRPC(grpc)
		f.ignore = t.ignore
		s, err = f.settings(at+".otlp_grpc", which)
	default:
		err = fmt.Errorf("%s: its exporter is not one of otlp_http, otlp_grpc, console", at)
	}
	return toOTLP, s, err
}

func (f fileOTLP) settings(at string, which Signal) (s otlpSettings, err error) {
	fail := func(err error) (otlpSettings, error) { return s, fmt.Errorf("%s: %w", at, err) }
	s.protocol = f.protocol
	if s.timeout = fileMillis(f.timeout, 10*time.Second); s.timeout < 0 {
		return fail(errors.New("timeout is negative"))
	}
	if f.compression != nil {
		if *f.compression != "gzip" && *f.compression != "none" {
			return fail(fmt.Errorf("compression %q is neither gzip nor none", *f.compression))
		}
		s.gzip = *f.compression == "gzip"
	}
	if s.protocol == HTTPJSON && which != Traces {
		return fail(fmt.Errorf("encoding json: the Go SDK sends %s as protobuf only", which))
	}
	s.headers = f.allHeaders(at)
	if s.endpoint, err = f.find(at, which); err != nil {
		return fail(err)
	}
	if s.endpoint.secure {
		if s.tls, err = f.tlsConfig(); err != nil {
			return fail(err)
		}
	}
	return s, nil
}

// allHeaders merges the header list and the named headers, which take precedence. A header that cannot be sent is left out and reported
// without its value.
func (f fileOTLP) allHeaders(at string) map[string]string {
	headers := make(map[string]string)
	if f.headersList != nil {
		for _, p := range pairs(*f.headersList) {
			err := p.err
			if err == nil {
				err = checkHeader(f.protocol, p.key, p.value)
			}
			if err != nil {
				f.ignore(fmt.Sprintf("%s.headers_list, entry %d", at, p.at), "it "+err.Error())
				continue
			}
			headers[p.key] = p.value
		}
	}
	for i, h := range f.headers {
		section := fmt.Sprintf("%s.headers[%d]", at, i)
		if h.Value == nil {
			f.ignore(section, "it has no value")
			continue
		}
		if err := checkHeader(f.protocol, h.Name, *h.Value); err != nil {
			f.ignore(section, "it "+err.Error())
			continue
		}
		headers[h.Name] = *h.Value
	}
	return headers
}

// find returns the endpoint, which over HTTP already has the signal's path. Over gRPC it may lack a scheme.
func (f fileOTLP) find(at string, which Signal) (endpoint, error) {
	value := "http://localhost:4318/v1/" + string(which)
	if f.protocol == GRPC {
		value = "http://localhost:4317"
	}
	if f.endpoint != nil {
		value = *f.endpoint
	}
	if f.protocol != GRPC && !strings.Contains(value, "://") {
		return endpoint{}, fmt.Errorf("endpoint: %w", errScheme)
	}
	found, notes, err := parseEndpoint(value, f.protocol, f.insecure != nil && *f.insecure)
	if err != nil {
		return endpoint{}, fmt.Errorf("endpoint: %w", err)
	}
	for _, note := range notes {
		f.ignore(at+".endpoint", note)
	}
	if found.url != nil && found.url.Path == "" {
		found.url.Path = "/v1/" + string(which)
	}
	return found, nil
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
