package etcdkv_test

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/go-os/go-os/internal/testenv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/state/kv/kvtest"
)

// owner closes the client with the driver: each has one of its own, so that what it leaves behind can be told.
type owner struct {
	*etcdkv.Store
	client *clientv3.Client
}

func (o *owner) Close() error { return errors.Join(o.Store.Close(), o.client.Close()) }

func connect(t testing.TB, engine *testenv.EtcdHandle) *owner {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{engine.Endpoint()}, Logger: zap.NewNop(), DialTimeout: 5 * time.Second,
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 2 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &owner{Store: etcdkv.New(client, nil), client: client}
}

func TestContract(t *testing.T) {
	engine := testenv.Etcd(t)
	kvtest.Run(t, kvtest.Backend{
		Record: "testdata/contract.json",
		Open: func(t testing.TB) driver.Store {
			o := connect(t, engine)
			if _, err := o.client.Delete(t.Context(), "\x00", clientv3.WithFromKey()); err != nil {
				t.Fatal(err)
			}
			return o
		},
		Restart: func(t testing.TB, old driver.Store) driver.Store {
			engine.Kill()
			engine.Restart()
			awake(t, old)
			return old
		},
		Kill:   func(testing.TB) { engine.Kill() },
		Revive: func(testing.TB) { engine.Restart() },
		Pause:  func(testing.TB) { engine.Pause() },
		Resume: func(testing.TB) { engine.Resume() },
		Compact: func(t testing.TB, s driver.Store) {
			client := s.(*owner).client
			resp, err := client.Get(t.Context(), "revision")
			if err == nil {
				_, err = client.Compact(t.Context(), resp.Header.Revision)
			}
			if err != nil {
				t.Fatal(err)
			}
		},
		Requests: func() int64 { return requests(t, engine.URL()+"/metrics") },
	})
}

// awake waits until the client has found the engine again.
func awake(t testing.TB, s driver.Store) {
	t.Helper()
	testenv.Eventually(t, 20*time.Second, "etcd to answer", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Get(ctx, "awake"); !errors.Is(err, driver.ErrNotFound) {
			return err
		}
		return nil
	})
}

// requests returns how many messages etcd has received by gRPC.
func requests(t testing.TB, url string) (total int64) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines, found := bufio.NewScanner(resp.Body), false
	for lines.Scan() {
		if line := lines.Text(); strings.HasPrefix(line, "grpc_server_msg_received_total{") {
			n, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			if err != nil {
				t.Fatal(err)
			}
			total, found = total+int64(n), true
		}
	}
	if err := lines.Err(); err != nil || !found {
		t.Fatalf("the page of metrics has no count of messages, error %v", err)
	}
	return total
}
