package dirkv_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-os/go-os/examples/guides/dirkv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/kvtest"
)

func TestContract(t *testing.T) {
	kvtest.Run(t, kvtest.Backend{
		Open: func(t testing.TB) driver.Driver { return dirkv.New(t.TempDir()) },
	})
}

// TestFaultsOfTheDisk checks that a missing folder and a truncated file are faults of the engine, not missing items.
func TestFaultsOfTheDisk(t *testing.T) {
	gone := kv.New(dirkv.New(filepath.Join(t.TempDir(), "gone")), nil)
	if _, err := gone.Put(t.Context(), "k", nil); !errors.Is(err, kv.ErrUnavailable) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Put in a missing folder: %v", err)
	}
	for _, err := range gone.List(t.Context(), "") {
		if !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("List of a missing folder: %v", err)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "6b"), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := kv.New(dirkv.New(dir), nil).Get(t.Context(), "k")
	if !errors.Is(err, kv.ErrUnavailable) || !strings.Contains(err.Error(), "6b is truncated") {
		t.Errorf("Get of a truncated file: %v", err)
	}
}

func Example() {
	dir, err := os.MkdirTemp("", "dirkv")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()

	store := kv.New(dirkv.New(dir), &kv.Options{Name: "carts"})
	defer store.Close()
	fmt.Println(errors.Is(store.Require(kv.CAS, kv.Watch), errors.ErrUnsupported))
	if _, err := store.Put(ctx, "cart/7", []byte("two apples")); err != nil {
		fmt.Println(err)
	}
	item, err := store.Get(ctx, "cart/7")
	fmt.Println(string(item.Value), err)
	// Output:
	// true
	// two apples <nil>
}
