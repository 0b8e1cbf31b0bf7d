package engine

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-os/go-os/internal/tooling/testenv"
)

// TestTLS opens real engines behind a TLS listener that requires a client certificate.
func TestTLS(t *testing.T) {
	t.Parallel()
	for scheme, engine := range map[string]struct{ address, protocol string }{
		"etcds":   {testenv.Etcd(t).Endpoint(), "h2"},
		"consuls": {testenv.Consul(t).Addr(0), "http/1.1"},
		"rediss":  {testenv.Redis(t).Addr(0), "redis"},
	} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			certificate, key, pair := certify(t)
			where := scheme + "://" + encrypted(t, engine.address, engine.protocol, pair)
			both := url.Values{"ca": {certificate}, "cert": {certificate}, "key": {key}}
			works(t, where+"?"+both.Encode())
			for name, parameters := range map[string]url.Values{
				"an authority that is not the server's": {"cert": {certificate}, "key": {key}},
				"no certificate of the client's":        {"ca": {certificate}},
			} {
				if e, err := try(t, where+"?"+parameters.Encode()); err == nil {
					t.Errorf("%s: it opens: %v", name, e.Close())
				}
			}
			if e, err := try(t, strings.Replace(where, "s://", "://", 1)); err == nil {
				t.Errorf("without TLS it opens: %v", e.Close())
			}
		})
	}
}

// TestCertificateFiles: a mistake in a file is an error that names it.
func TestCertificateFiles(t *testing.T) {
	certificate, key, _ := certify(t)
	noPEM := filepath.Join(t.TempDir(), "notes.txt")
	if err := os.WriteFile(noPEM, []byte("notes"), 0o600); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"ca=" + noPEM:                           noPEM + " has no certificate: it must be in PEM",
		"cert=" + certificate:                   "cert and key go together",
		"key=" + key:                            "cert and key go together",
		"cert=" + noPEM + "&key=" + key:         noPEM,
		"cert=" + certificate + "&key=/no/file": "/no/file",
	} {
		if _, err := try(t, "etcds://127.0.0.1:1?"+query); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want …%s…", query, err, want)
		}
	}
}

// certify returns a self-signed certificate for this machine, and the PEM files with the certificate and its key.
func certify(t *testing.T) (certificate, key string, pair tls.Certificate) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	certificate, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	if err := errors.Join(os.WriteFile(certificate, certPEM, 0o600), os.WriteFile(key, keyPEM, 0o600)); err != nil {
		t.Fatal(err)
	}
	if pair, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	return certificate, key, pair
}

// encrypted returns the address of a listener that terminates TLS and forwards to an engine. protocol is the ALPN protocol of the engine.
func encrypted(t *testing.T, engine, protocol string, pair tls.Certificate) string {
	t.Helper()
	authorities := x509.NewCertPool()
	authorities.AddCert(pair.Leaf)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authorities,
		NextProtos: []string{protocol},
	})
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			work.Go(func() { pass(client, engine) })
		}
	})
	t.Cleanup(func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
		work.Wait()
	})
	return listener.Addr().String()
}

// pass copies in both directions between a client and an engine until one of them closes its connection.
func pass(client net.Conn, engine string) {
	defer client.Close()
	server, err := net.Dial("tcp", engine)
	if err != nil {
		return
	}
	defer server.Close()
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(client, server)
		_ = client.Close()
	})
	_, _ = io.Copy(server, client)
	_ = server.Close()
	back.Wait()
}
