package bench

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/state/kv/near"
	"github.com/go-os/go-os/telemetry"
)

// Staleness is how long a near cache still shows the old item after a write was acknowledged to another process.
type Staleness struct{ P50, P99, Max time.Duration }

// MeasureStaleness writes through one client of a real etcd. It reads through a near cache on another client, which has the item.
func MeasureStaleness(t testing.TB, writes int) Staleness {
	endpoint := testenv.Etcd(t).Endpoint()
	open := func() *kv.Store {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		s := kv.New(etcdkv.New(client, nil), &kv.Options{Telemetry: telemetry.Off()})
		t.Cleanup(func() { _ = s.Close(); _ = client.Close() })
		return s
	}
	writer := open()
	cache := near.New(open(), nil)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- cache.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	var ages []time.Duration
	for i := range writes {
		value := fmt.Sprint(i)
		if _, err := writer.Put(ctx, "k", []byte(value)); err != nil {
			t.Fatal(err)
		}
		written := time.Now()
		for {
			it, err := cache.Get(ctx, "k")
			if err != nil {
				t.Fatal(err)
			}
			if string(it.Value) == value {
				break
			}
			if time.Since(written) > 5*time.Second {
				t.Fatalf("write %d is not seen after 5 s", i)
			}
		}
		ages = append(ages, time.Since(written))
	}
	slices.Sort(ages)
	return Staleness{P50: ages[len(ages)/2], P99: ages[len(ages)*99/100], Max: ages[len(ages)-1]}
}
