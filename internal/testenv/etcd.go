package testenv

import (
	"context"
	"net/http"
	"testing"
)

// EtcdHandle is a running etcd of one node. Its data survive a Restart.
type EtcdHandle struct{ *Process }

// Etcd starts an etcd for the test.
func Etcd(t testing.TB) *EtcdHandle {
	t.Helper()
	return &EtcdHandle{Process: start(t, etcdEngine())}
}

// Endpoint is where clients connect.
func (e *EtcdHandle) Endpoint() string { return e.Addr(0) }

// URL is the base URL of health and metrics.
func (e *EtcdHandle) URL() string { return "http://" + e.Addr(0) }

func etcdEngine() *Engine {
	return &Engine{
		Name:    "etcd",
		Weight:  Heavy,
		Module:  "internal/engines/etcd",
		Package: "go.etcd.io/etcd/server/v3",
		Ports:   2,
		Args: func(p Place) []string {
			client, peer := "http://"+p.Addr(0), "http://"+p.Addr(1)
			return []string{
				"--name=n0", "--data-dir=" + p.File("data"), "--log-level=warn",
				"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
				"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer,
				"--initial-cluster=n0=" + peer,
			}
		},
		Ready: func(ctx context.Context, p Place) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Addr(0)+"/health", nil)
			if err != nil {
				return err
			}
			return expectOK(req)
		},
	}
}
