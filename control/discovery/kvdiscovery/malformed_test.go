package kvdiscovery_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

// TestTextOfMalformedRecords checks that errors repeat only a short and valid part of foreign text: readers keep, send and log them.
func TestTextOfMalformedRecords(t *testing.T) {
	t.Parallel()
	store := kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()})
	t.Cleanup(func() { _ = store.Close() })
	registry, err := kvdiscovery.New(store, nil)
	if err != nil {
		t.Fatal(err)
	}
	const valid = `{"addresses": {"grpc": "h:1"}, "state": "up"}`
	long := strings.Repeat("9", 100_000)
	for what, item := range map[string]kv.Item{
		"a long state":           {Key: "orders/a", Value: []byte(`{"addresses": {"grpc": "h:1"}, "state": "` + long + `"}`)},
		"a long number":          {Key: "orders/b", Value: []byte(`{"weight": ` + long + `}`)},
		"a key that is too deep": {Key: "orders/c/" + long[:2000], Value: []byte(valid)},
	} {
		if _, err := store.Put(t.Context(), item.Key, item.Value); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		var got []error
		done := errors.New("the snapshot is complete")
		err := registry.Watch(t.Context(), "orders", func(e driver.Event) error {
			switch e.Kind {
			case driver.EventInvalid:
				got = append(got, e.Err)
			case driver.EventSynced:
				return done
			}
			return nil
		})
		if !errors.Is(err, done) || len(got) != 1 || !errors.Is(got[0], driver.ErrInvalid) {
			t.Fatalf("%s: %v, and %d errors, want one", what, err, len(got))
		}
		if text := got[0].Error(); len(text) > 512 || !utf8.ValidString(text) {
			t.Errorf("%s: the error has %d bytes, valid: %t", what, len(text), utf8.ValidString(text))
		}
		if err := store.Delete(t.Context(), item.Key); err != nil {
			t.Fatal(err)
		}
	}

	// The error of a process that has lost its ID to a later one.
	later := strings.Replace(valid, "{", `{"epoch": 5, "incarnation": "`+long+`", `, 1)
	if _, err := store.Put(t.Context(), "orders/e", []byte(later)); err != nil {
		t.Fatal(err)
	}
	err = registered(t.Context(), registry)
	if !errors.Is(err, driver.ErrConflict) || len(err.Error()) > 512 {
		t.Errorf("an ID that is taken: an error of %d bytes, want ErrConflict in 512", len(err.Error()))
	}
}

// registered registers the instance e of orders.
func registered(ctx context.Context, registry *kvdiscovery.Registry) error {
	lease, err := registry.Grant(ctx, time.Minute)
	if err != nil {
		return err
	}
	return lease.Register(ctx, driver.Record{Epoch: 1, Incarnation: "mine", Instance: driver.Instance{
		Service: "orders", ID: "e", Addresses: map[string]string{"grpc": "h:1"},
	}})
}
