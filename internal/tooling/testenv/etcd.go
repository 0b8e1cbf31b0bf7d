package testenv

import (
	"bufio"
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// EtcdHandle is a running etcd of one node. Its data survives a Restart.
type EtcdHandle struct{ *Process }

// Etcd starts an etcd for the test.
func Etcd(t testing.TB) *EtcdHandle {
	t.Helper()
	return &EtcdHandle{Process: start(t, etcdEngine())}
}

// EtcdWith starts an etcd with additional arguments.
func EtcdWith(t testing.TB, more ...string) *EtcdHandle {
	t.Helper()
	engine := etcdEngine()
	usual := engine.Args
	engine.Args = func(p Place) []string { return append(usual(p), more...) }
	return &EtcdHandle{Process: start(t, engine)}
}

// Endpoint returns the address for clients.
func (e *EtcdHandle) Endpoint() string { return e.Addr(0) }

// URL returns the base URL of health and metrics.
func (e *EtcdHandle) URL() string { return "http://" + e.Addr(0) }

// Requests returns how many messages etcd has received by gRPC. Of a stream of renewals, etcd counts the end as a message, too. Requests
// therefore subtracts the streams that have ended.
func (e *EtcdHandle) Requests() (total int64) {
	e.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(e.URL() + "/metrics")
	if err != nil {
		e.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	lines, found := bufio.NewScanner(resp.Body), false
	for lines.Scan() {
		line := lines.Text()
		received := strings.HasPrefix(line, "grpc_server_msg_received_total{")
		ended := strings.HasPrefix(line, "grpc_server_handled_total{") && strings.Contains(line, `grpc_method="LeaseKeepAlive"`)
		if !received && !ended {
			continue
		}
		n, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			e.t.Fatal(err)
		}
		if ended {
			n = -n
		}
		total, found = total+int64(n), true
	}
	if err := lines.Err(); err != nil || !found {
		e.t.Fatalf("the page of metrics has no count of messages, error %v", err)
	}
	return total
}

func etcdEngine() *Engine {
	return &Engine{
		Name:    "etcd",
		Weight:  Heavy,
		Module:  "internal/tooling/engines/etcd",
		Package: "go.etcd.io/etcd/server/v3",
		Ports:   2,
		Args: func(p Place) []string {
			client, peer := "http://"+p.Addr(0), "http://"+p.Addr(1)
			return []string{
				"--name=n0", "--data-dir=" + p.File("data"), "--log-level=warn",
				"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
				"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer,
				"--initial-cluster=n0=" + peer, "--initial-cluster-token=" + clusterToken(p),
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
