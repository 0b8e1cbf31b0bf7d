package sync_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/go-os/go-os/state/sync"
	"github.com/go-os/go-os/state/sync/memsync"
	"github.com/go-os/go-os/telemetry"
)

// TestWithoutDriver calls sessions and values without a driver. Every call returns an error that names the missing part.
func TestWithoutDriver(t *testing.T) {
	ctx := t.Context()
	s := sync.New(nil, &sync.Options{Telemetry: telemetry.Off()})
	for name, call := range map[string]func() error{
		"Lock":    func() error { _, err := s.Mutex("m").Lock(ctx); return err },
		"Leader":  func() error { _, err := s.Election("e").Leader(ctx); return err },
		"Require": func() error { return s.Require(sync.Local) },
		"Fence":   func() error { return sync.NewFence(nil, nil).Put(ctx, 1, "k", nil) },
		"Observe": func() error {
			for _, err := range s.Election("e").Observe(ctx) {
				return err
			}
			return nil
		},
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), "no driver") && !strings.Contains(err.Error(), "store is nil") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestDoNothing passes a nil function to Do. Do returns ErrInvalid and leaves the lock free.
func TestDoNothing(t *testing.T) {
	s := sync.New(memsync.New(nil), &sync.Options{Telemetry: telemetry.Off()})
	defer func() { _ = s.Close() }()
	for range 2 {
		if err := s.Mutex("m").Do(t.Context(), nil); !errors.Is(err, sync.ErrInvalid) {
			t.Errorf("Do: %v", err)
		}
	}
}

// TestErrorsSayItOnce checks that no error repeats a text, and that Lost returns an *Error.
func TestErrorsSayItOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sync.New(memsync.New(nil), &sync.Options{Telemetry: telemetry.Off()})
		held, err := s.Mutex("m").Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), sync.DefaultTimeout)
		defer cancel()
		if _, err := s.Mutex("m").Lock(ctx); err == nil || strings.Count(err.Error(), "deadline exceeded") != 1 {
			t.Errorf("Lock: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		var e *sync.Error
		if err := held.Lost(); !errors.As(err, &e) || !errors.Is(err, sync.ErrClosed) {
			t.Errorf("Lost: %v", err)
		}
	})
}
