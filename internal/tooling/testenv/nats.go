package testenv

import (
	"context"
	"encoding/json"
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

// Requests returns how many messages the server has received from clients.
func (n *NATSHandle) Requests() int64 {
	n.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(n.MonitorURL() + "/varz")
	if err != nil {
		n.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var varz struct {
		InMsgs *int64 `json:"in_msgs"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&varz); err != nil || varz.InMsgs == nil {
		n.t.Fatalf("/varz has no in_msgs, error %v", err)
	}
	return *varz.InMsgs
}

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
