// Package recordtest writes the records of package kvdiscovery as other programs do: by the documented format, without the driver.
package recordtest

import (
	"encoding/json"
	"testing"

	"github.com/go-os/go-os/control/discovery/discoverytest"
	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/state/kv"
)

// Hooks returns the hooks of a Registry that write into a store.
func Hooks(store *kv.Store) discoverytest.Registry {
	put := func(t testing.TB, key string, value []byte) {
		t.Helper()
		if _, err := store.Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
	return discoverytest.Registry{
		Write: func(t testing.TB, r driver.Record) {
			t.Helper()
			value, err := json.Marshal(map[string]any{
				"version": r.Version, "addresses": r.Addresses, "zone": r.Zone, "weight": r.Weight, "labels": r.Labels,
				"state": r.State.String(), "incarnation": r.Incarnation, "epoch": r.Epoch,
			})
			if err != nil {
				t.Fatal(err)
			}
			put(t, r.Service+"/"+r.ID, value)
		},
		Remove: func(t testing.TB, service, id string) {
			t.Helper()
			if err := store.Delete(t.Context(), service+"/"+id); err != nil {
				t.Fatal(err)
			}
		},
		Spoil: func(t testing.TB, service, id string) string {
			t.Helper()
			put(t, service+"/"+id, []byte(`{"state": "up", "addresses": `))
			return id
		},
	}
}
