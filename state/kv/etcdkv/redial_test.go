package etcdkv_test

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/etcdkv"
)

// TestRedial gives the client the wait of a long outage from the start. The driver connects as soon as etcd has returned.
func TestRedial(t *testing.T) {
	t.Parallel()
	engine := testenv.Etcd(t)
	engine.Kill()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{engine.Endpoint()}, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 2 * time.Minute, Multiplier: 1, MaxDelay: 2 * time.Minute}, MinConnectTimeout: time.Second,
		})},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &owner{Driver: etcdkv.New(client, nil), client: client}
	defer s.Close()
	put := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.Put(ctx, driver.PutRequest{Key: "k"})
		return err
	}
	if err := put(); err == nil {
		t.Fatal("a write without etcd has succeeded")
	}
	engine.Restart()
	testenv.Eventually(t, 20*time.Second, "a write", put)
}
