package kv_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

// TestWithoutDriver calls stores and values without a driver. Every call returns an error that names the missing part.
func TestWithoutDriver(t *testing.T) {
	ctx := t.Context()
	s := kv.New(nil, nil)
	for name, call := range map[string]func() error{
		"Get":    func() error { _, err := s.Get(ctx, "k"); return err },
		"Put":    func() error { _, err := s.Put(ctx, "k", nil); return err },
		"Delete": func() error { return s.Delete(ctx, "k") },
		"Ping":   func() error { return s.Ping(ctx) },
		"Typed":  func() error { _, err := kv.NewTyped[int](nil, nil).Get(ctx, "k"); return err },
	} {
		if err := call(); !errors.Is(err, kv.ErrInvalid) || !strings.Contains(err.Error(), "no driver") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestNilOptions passes nil options, as an unset variable of an option type would.
func TestNilOptions(t *testing.T) {
	ctx := t.Context()
	s := kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()})
	if _, err := s.Put(ctx, "k", []byte("v"), nil); err != nil {
		t.Error(err)
	}
	for ev, err := range s.Watch(ctx, "k", nil) {
		if err != nil || ev.Kind != kv.EventSynced {
			t.Error(ev, err)
		}
		break
	}
	if err := s.Delete(ctx, "k", nil); err != nil {
		t.Error(err)
	}
}

// TestUpdateArguments passes invalid arguments to Update, with and without an existing key.
func TestUpdateArguments(t *testing.T) {
	ctx := t.Context()
	numbers := kv.NewTyped[int](kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()}), nil)
	same := func(old kv.TypedItem[int]) (int, error) { return old.Value, nil }
	for range 2 {
		for _, o := range []kv.PutOption{kv.IfAbsent(), kv.IfVersion(3)} {
			if _, err := numbers.Update(ctx, "n", same, o); !errors.Is(err, kv.ErrInvalid) || !strings.Contains(err.Error(), "its own condition") {
				t.Errorf("Update: %v", err)
			}
		}
		if _, err := numbers.Update(ctx, "n", nil); !errors.Is(err, kv.ErrInvalid) {
			t.Errorf("Update: %v", err)
		}
		if _, err := numbers.Put(ctx, "n", 1); err != nil {
			t.Fatal(err)
		}
	}
}

// TestInvalidItemOfBatch checks that one error names the invalid item, and the operation once.
func TestInvalidItemOfBatch(t *testing.T) {
	s := kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()})
	_, err := s.PutMany(t.Context(), []kv.Entry{{Key: "a"}, {Key: ""}})
	if err == nil || strings.Count(err.Error(), "put_many") != 1 || !strings.Contains(err.Error(), "item 1") {
		t.Errorf("PutMany: %v", err)
	}
}
