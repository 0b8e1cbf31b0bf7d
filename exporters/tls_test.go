package exporters

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// certificate creates a self-signed pair for 127.0.0.1, as files and as a certificate.
func certificate(t *testing.T) (certFile, keyFile string, pair tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "peer"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	for file, text := range map[string][]byte{certFile: certPEM, keyFile: keyPEM} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if pair, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	return certFile, keyFile, pair
}

// startTLS puts a peer behind TLS that requires a client certificate, over both protocols.
func startTLS(t *testing.T, p *peer, pair tls.Certificate) (httpURL, grpcURL string) {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(pair.Leaf)
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, NextProtos: []string{"h2", "http/1.1"}}
	hl, gl := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	web := &http.Server{Handler: http.HandlerFunc(p.serveHTTP), TLSConfig: cfg}
	rpc := grpc.NewServer(grpc.Creds(credentials.NewTLS(cfg)))
	tracepb.RegisterTraceServiceServer(rpc, peerTraces{p: p})
	done := make(chan struct{}, 2)
	go func() { _ = web.ServeTLS(hl, "", ""); done <- struct{}{} }()
	go func() { _ = rpc.Serve(gl); done <- struct{}{} }()
	t.Cleanup(func() {
		_ = web.Close()
		rpc.Stop()
		<-done
		<-done
	})
	return "https://" + hl.Addr().String(), "https://" + gl.Addr().String()
}

// TestTLS exports spans with the certificates of the environment, of the Options, and of a file, to a peer that requires a
// client certificate.
func TestTLS(t *testing.T) {
	certFile, keyFile, pair := certificate(t)
	peer := startPeer(t)
	httpURL, grpcURL := startTLS(t, peer, pair)
	pool := x509.NewCertPool()
	pool.AddCert(pair.Leaf)
	for protocol, url := range map[string]string{HTTP: httpURL, GRPC: grpcURL} {
		exporter := map[string]string{HTTP: "otlp_http: {endpoint: '" + url + "/v1/traces'", GRPC: "otlp_grpc: {endpoint: '" + url + "'"}[protocol]
		file := configFile(t, fileHeader+"tracer_provider: {processors: [{batch: {exporter: {"+exporter+
			", tls: {ca_file: '"+certFile+"', cert_file: '"+certFile+"', key_file: '"+keyFile+"'}}}}}]}\n")
		for name, o := range map[string]Options{
			"environment": {Environ: []string{
				"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=" + strings.TrimSuffix(url, "/") + map[string]string{HTTP: "/v1/traces"}[protocol],
				"OTEL_EXPORTER_OTLP_PROTOCOL=" + protocol, "OTEL_EXPORTER_OTLP_CERTIFICATE=" + certFile,
				"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=" + certFile, "OTEL_EXPORTER_OTLP_CLIENT_KEY=" + keyFile,
			}},
			"options": {
				Endpoint: url, Protocol: protocol, TLS: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}},
				Environ: []string{"OTEL_METRICS_EXPORTER=none", "OTEL_LOGS_EXPORTER=none"},
			},
			"file": {Environ: []string{"OTEL_CONFIG_FILE=" + file}},
		} {
			t.Run(name+" "+protocol, func(t *testing.T) {
				before := peer.count(Traces)
				p, log := setup(t, o)
				_, span := p.Providers().Tracer("t").Start(t.Context(), "a")
				span.End()
				if err := p.Shutdown(t.Context()); err != nil {
					t.Errorf("%v\n%s", err, log)
				}
				if got := peer.count(Traces) - before; got != 1 {
					t.Errorf("%d spans arrived", got)
				}
			})
		}
	}
}

// TestPlainEndpointWithCertificatesInTheEnvironment sets certificates for another process: a plain endpoint stays plain.
func TestPlainEndpointWithCertificatesInTheEnvironment(t *testing.T) {
	certFile, _, _ := certificate(t)
	t.Setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", certFile)
	for _, protocol := range protocols {
		peer := startPeer(t)
		p, _ := setup(t, Options{Endpoint: peer.endpoint(protocol), Protocol: protocol, Environ: os.Environ()})
		emit(t, p, 2)
		if h := drained(t, p, 5*time.Second, peer); h.Traces.Exported != 2 || h.Logs.Exported != 2 || h.Metrics.Dropped != 0 {
			t.Errorf("%s: %+v", protocol, h)
		}
	}
}
