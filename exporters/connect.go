package exporters

import (
	"context"
	"net"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/go-os/go-os/internal/delivery"
)

// httpClient returns the HTTP client of one exporter. Without it the exporters share a transport whose connections nobody can close.
//
// The client follows no redirect: a redirected POST may arrive as a GET without a body, and its headers may reach another host.
func (s otlpSettings) httpClient(which Signal) *http.Client {
	return &http.Client{
		Timeout:       s.timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &otlpTransport{signal: which, endpoint: s.endpoint.url, next: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: s.timeout, KeepAlive: 30 * time.Second}).DialContext,
			TLSClientConfig:     s.tls,
			TLSHandshakeTimeout: s.timeout,
			ForceAttemptHTTP2:   true,
			MaxIdleConns:        2,
			IdleConnTimeout:     90 * time.Second,
		}},
	}
}

// credentials are set for a plain connection too. Otherwise the exporters take certificates from the environment.
func (s otlpSettings) credentials() credentials.TransportCredentials {
	if s.tls == nil {
		return insecure.NewCredentials()
	}
	return credentials.NewTLS(s.tls)
}

// base returns the part of the endpoint that the exporters of the SDK need. otlpTransport adds the rest, such as a query.
func (p endpoint) base() string { return p.url.Scheme + "://" + p.url.Host + "/" }

// reconnect bounds the backoff between gRPC's connection attempts. By default it grows to two minutes, during which a restarted
// collector would receive nothing.
func reconnect() grpc.DialOption {
	c := backoff.DefaultConfig
	c.MaxDelay = delivery.DefaultLongest
	return grpc.WithConnectParams(grpc.ConnectParams{Backoff: c, MinConnectTimeout: delivery.DefaultLongest})
}

func (s otlpSettings) spans(ctx context.Context) (sdktrace.SpanExporter, string, error) {
	if s.protocol == GRPC {
		opts := []otlptracegrpc.Option{
			otlptracegrpc.WithEndpoint(s.endpoint.target), otlptracegrpc.WithTLSCredentials(s.credentials()),
			otlptracegrpc.WithHeaders(s.headers), otlptracegrpc.WithTimeout(s.timeout),
			otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{}), otlptracegrpc.WithDialOption(reconnect()),
		}
		if s.gzip {
			opts = append(opts, otlptracegrpc.WithCompressor("gzip"))
		}
		e, err := otlptracegrpc.New(ctx, opts...)
		return e, "otlp_grpc_span_exporter", err
	}
	client, kind, encoding := s.httpClient(Traces), "otlp_http_span_exporter", otlptracehttp.EncodingProtobuf
	if s.protocol == HTTPJSON {
		kind, encoding = "otlp_http_json_span_exporter", otlptracehttp.EncodingJSON
	}
	compression := otlptracehttp.NoCompression
	if s.gzip {
		compression = otlptracehttp.GzipCompression
	}
	e, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(s.endpoint.base()), otlptracehttp.WithHTTPClient(client),
		otlptracehttp.WithTLSClientConfig(nil), otlptracehttp.WithHeaders(s.headers), otlptracehttp.WithTimeout(s.timeout),
		otlptracehttp.WithCompression(compression), otlptracehttp.WithEncoding(encoding),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{}))
	return closingSpans{e, client}, kind, err
}

func (s otlpSettings) records(ctx context.Context) (sdklog.Exporter, string, error) {
	if s.protocol == GRPC {
		opts := []otlploggrpc.Option{
			otlploggrpc.WithEndpoint(s.endpoint.target), otlploggrpc.WithTLSCredentials(s.credentials()),
			otlploggrpc.WithHeaders(s.headers), otlploggrpc.WithTimeout(s.timeout),
			otlploggrpc.WithRetry(otlploggrpc.RetryConfig{}), otlploggrpc.WithDialOption(reconnect()),
		}
		if s.gzip {
			opts = append(opts, otlploggrpc.WithCompressor("gzip"))
		}
		e, err := otlploggrpc.New(ctx, opts...)
		return e, "otlp_grpc_log_exporter", err
	}
	client, compression := s.httpClient(Logs), otlploghttp.NoCompression
	if s.gzip {
		compression = otlploghttp.GzipCompression
	}
	e, err := otlploghttp.New(ctx, otlploghttp.WithEndpointURL(s.endpoint.base()), otlploghttp.WithHTTPClient(client),
		otlploghttp.WithTLSClientConfig(nil), otlploghttp.WithHeaders(s.headers), otlploghttp.WithTimeout(s.timeout),
		otlploghttp.WithCompression(compression), otlploghttp.WithRetry(otlploghttp.RetryConfig{}))
	return closingRecords{e, client}, "otlp_http_log_exporter", err
}

func (s otlpSettings) points(ctx context.Context) (sdkmetric.Exporter, string, error) {
	if s.protocol == GRPC {
		opts := []otlpmetricgrpc.Option{
			otlpmetricgrpc.WithEndpoint(s.endpoint.target), otlpmetricgrpc.WithTLSCredentials(s.credentials()),
			otlpmetricgrpc.WithHeaders(s.headers), otlpmetricgrpc.WithTimeout(s.timeout),
			otlpmetricgrpc.WithRetry(otlpmetricgrpc.RetryConfig{}), otlpmetricgrpc.WithDialOption(reconnect()),
		}
		if s.gzip {
			opts = append(opts, otlpmetricgrpc.WithCompressor("gzip"))
		}
		e, err := otlpmetricgrpc.New(ctx, opts...)
		return e, "otlp_grpc_metric_exporter", err
	}
	client, compression := s.httpClient(Metrics), otlpmetrichttp.NoCompression
	if s.gzip {
		compression = otlpmetrichttp.GzipCompression
	}
	e, err := otlpmetrichttp.New(ctx, otlpmetrichttp.WithEndpointURL(s.endpoint.base()), otlpmetrichttp.WithHTTPClient(client),
		otlpmetrichttp.WithTLSClientConfig(nil), otlpmetrichttp.WithHeaders(s.headers), otlpmetrichttp.WithTimeout(s.timeout),
		otlpmetrichttp.WithCompression(compression), otlpmetrichttp.WithRetry(otlpmetrichttp.RetryConfig{}))
	return closingPoints{e, client}, "otlp_http_metric_exporter", err
}

// The closing exporters close their connections on Shutdown.
type (
	closingSpans struct {
		sdktrace.SpanExporter
		client *http.Client
	}
	closingRecords struct {
		sdklog.Exporter
		client *http.Client
	}
	closingPoints struct {
		sdkmetric.Exporter
		client *http.Client
	}
)

func (e closingSpans) Shutdown(ctx context.Context) error {
	defer e.client.CloseIdleConnections()
	return e.SpanExporter.Shutdown(ctx)
}

func (e closingRecords) Shutdown(ctx context.Context) error {
	defer e.client.CloseIdleConnections()
	return e.Exporter.Shutdown(ctx)
}

func (e closingPoints) Shutdown(ctx context.Context) error {
	defer e.client.CloseIdleConnections()
	return e.Exporter.Shutdown(ctx)
}
