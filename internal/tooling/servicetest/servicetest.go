// Package servicetest holds helpers for the tests of clients that use package discovery, for every protocol.
package servicetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/etcdkv"
	"github.com/go-os/go-os/telemetry"
)

// Load calls send from several goroutines until it is stopped. stop returns how many calls were made and the errors.
func Load(workers int, send func() error) (stop func() (int64, []error)) {
	var n atomic.Int64
	var mu sync.Mutex
	var failed []error
	var work sync.WaitGroup
	done := make(chan struct{})
	for range workers {
		work.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				n.Add(1)
				if err := send(); err != nil {
					mu.Lock()
					failed = append(failed, err)
					mu.Unlock()
				}
			}
		})
	}
	return func() (int64, []error) {
		close(done)
		work.Wait()
		return n.Load(), failed
	}
}

// Serves waits until an instance with a counter has served so many more calls. what names the condition in the failure.
func Serves(t testing.TB, what string, served *atomic.Int64, more int64) {
	t.Helper()
	before := served.Load()
	testenv.Eventually(t, 30*time.Second, what, func() error {
		if n := served.Load() - before; n < more {
			return fmt.Errorf("%d of %d yet", n, more)
		}
		return nil
	})
}

// EtcdStore opens a store on an etcd that the test may kill: its client notices within seconds.
func EtcdStore(t testing.TB, etcd *testenv.EtcdHandle) *kv.Store {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{etcd.Endpoint()}, Logger: zap.NewNop(), DialTimeout: 5 * time.Second, DialKeepAliveTime: 5 * time.Second, DialKeepAliveTimeout: 2 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	store := kv.New(etcdkv.New(client, nil), &kv.Options{Telemetry: telemetry.Off()})
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// Foreign is a registry with one instance with an ID written by another program: no rule of names applies to it.
type Foreign struct {
	// ID of the instance.
	ID string
	// Addresses of the instance by protocol.
	Addresses map[string]string
}

// System implements driver.Reader.
func (Foreign) System() string { return "test" }

// Close implements driver.Reader.
func (Foreign) Close() error { return nil }

// Watch implements driver.Reader. Every service has the instance.
func (f Foreign) Watch(ctx context.Context, service string, emit func(driver.Event) error) error {
	record := driver.Record{Instance: driver.Instance{Service: service, ID: f.ID, Weight: 1, Addresses: f.Addresses}, Incarnation: "1", Epoch: 1}
	for _, e := range []driver.Event{{Kind: driver.EventResync}, {Kind: driver.EventPut, Record: record}, {Kind: driver.EventSynced}} {
		if err := emit(e); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}
