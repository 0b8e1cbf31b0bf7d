package testenv

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"testing"
)

// NATSHandle is a running NATS server with JetStream. It writes every message to disk before it answers. Its data survives a Restart.
type NATSHandle struct{ *Process }

// NATS starts a NATS server for the test.
func NATS(t testing.TB) *NATSHandle {
	t.Helper()
	return &NATSHandle{Process: start(t, natsEngine())}
}

// URL returns the URL for clients.
func (n *NATSHandle) URL() string { return "nats://" + n.Addr(0) }

// MonitorURL returns the base URL of the server's own statistics, such as /varz.
func (n *NATSHandle) MonitorURL() string { return "http://" + n.Addr(1) }

func natsEngine() *Engine {
	return &Engine{
		Name:    "nats",
		Weight:  Light,
		Module:  "internal/tooling/engines/nats",
		Package: "github.com/nats-io/nats-server/v2",
		Ports:   2,
		Prepare: func(p Place) error {
			config := fmt.Sprintf("listen: %q\nhttp: %q\njetstream { store_dir: %q, sync_interval: always }\n",
				p.Addr(0), p.Addr(1), p.File("data"))
			return os.WriteFile(p.File("nats.conf"), []byte(config), 0o644)
		},
		Args: func(p Place) []string { return []string{"-c", p.File("nats.conf")} },
		Ready: func(ctx context.Context, p Place) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Addr(1)+"/healthz", nil)
			if err != nil {
				return err
			}
			return expectOK(req)
		},
	}
}
