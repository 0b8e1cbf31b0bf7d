package kv_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

// TestInvalidOptions creates stores with negative options. Every call returns an error that names the option.
func TestInvalidOptions(t *testing.T) {
	for want, opts := range map[string]kv.Options{
		"kv.Options.PageSize is -1:":     {PageSize: -1},
		"kv.Options.Parallel is -2:":     {Parallel: -2},
		"kv.Options.Backoff is -1ns:":    {Backoff: -1},
		"kv.Options.MaxBackoff is -3ns:": {MaxBackoff: -3},
	} {
		opts.Telemetry = telemetry.Off()
		refuses(t, kv.New(memkv.New(nil), &opts), want)
	}
}

// faulty is a driver that was created with invalid arguments. It panics when it is called.
type faulty struct{ driver.Driver }

func (faulty) Capabilities() driver.Capabilities {
	return driver.Capabilities{System: "faulty", Abilities: driver.AllAbilities()}
}
func (faulty) Validate() error {
	return fmt.Errorf("%w: faultykv: New: the client is nil", kv.ErrInvalid)
}
func (faulty) Close() error { return nil }

func TestInvalidDriver(t *testing.T) {
	refuses(t, kv.New(faulty{}, &kv.Options{Telemetry: telemetry.Off()}), "faultykv: New: the client is nil")
	refuses(t, kv.New(nil, &kv.Options{Telemetry: telemetry.Off()}), "New was given no driver")
}

// refuses checks that every call of a store, and of types built on it, returns ErrInvalid with this text.
func refuses(t *testing.T, s *kv.Store, want string) {
	t.Helper()
	ctx := t.Context()
	change := func(kv.Item) ([]byte, error) { return nil, errors.New("the function was called") }
	for name, call := range map[string]func(*kv.Store) error{
		"Require":     func(s *kv.Store) error { return s.Require() },
		"Require CAS": func(s *kv.Store) error { return s.Require(kv.CAS) },
		"Get":         func(s *kv.Store) error { _, err := s.Get(ctx, "k"); return err },
		"Put":         func(s *kv.Store) error { _, err := s.Put(ctx, "k", nil); return err },
		"Delete":      func(s *kv.Store) error { return s.Delete(ctx, "k") },
		"Update":      func(s *kv.Store) error { _, err := s.Update(ctx, "k", change); return err },
		"GetMany":     func(s *kv.Store) error { _, err := s.GetMany(ctx, []string{"k"}); return err },
		"PutMany":     func(s *kv.Store) error { _, err := s.PutMany(ctx, []kv.Entry{{Key: "k"}}); return err },
		"Ping":        func(s *kv.Store) error { return s.Ping(ctx) },
		"Lease":       func(s *kv.Store) error { _, err := s.Lease(ctx, 1); return err },
		"List":        func(s *kv.Store) error { return last(s.List(ctx, "")) },
		"Watch":       func(s *kv.Store) error { return last(s.Watch(ctx, "k")) },
		"WatchPrefix": func(s *kv.Store) error { return last(s.WatchPrefix(ctx, "")) },
		"NewMirror":   func(s *kv.Store) error { _, err := kv.NewMirror[int](s, "", nil); return err },
	} {
		for _, store := range []*kv.Store{s, s.Namespace("n")} {
			if err := call(store); !errors.Is(err, kv.ErrInvalid) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if _, err := s.Get(context.Background(), "k"); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("Get after Close: %v", err)
	}
}

// last returns the error that a loop ends with.
func last[T any](events func(func(T, error) bool)) (err error) {
	for _, err = range events {
		if err != nil {
			return err
		}
	}
	return nil
}
