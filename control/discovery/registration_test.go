package discovery_test

import (
	"sync"
	"testing"

	"github.com/go-os/go-os/control/discovery"
)

// TestUpdatesAtOnce changes an instance from several goroutines while it is being written. The race detector checks it.
func TestUpdatesAtOnce(t *testing.T) {
	_, registrar, resolver := open()
	defer registrar.Close()
	defer resolver.Close()
	g, err := registrar.Register(t.Context(), discovery.Instance{Service: "orders", ID: "i", Addresses: map[string]string{"grpc": "10.0.0.7:9000"}})
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	for n := range 4 {
		work.Go(func() {
			for c := range 25 {
				if err := g.Update(t.Context(), func(i *discovery.Instance) { i.Weight = 1000*n + c }); err != nil {
					t.Errorf("Update: %v", err)
				}
				_ = g.Check(t.Context())
			}
		})
	}
	work.Wait()
	if err := g.Check(t.Context()); err != nil {
		t.Errorf("after all updates: %v", err)
	}
}
