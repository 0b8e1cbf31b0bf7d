package sync_test

import (
	"errors"
	"fmt"
	gosync "sync"
	"testing"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/state/sync"
)

func fence(t *testing.T) (*sync.Fence, *kv.Store) {
	t.Helper()
	store := kv.New(memkv.New(nil), nil)
	t.Cleanup(func() { _ = store.Close() })
	return sync.NewFence(store, nil), store
}

func is(t *testing.T, err, want error, what string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v; want %v", what, err, want)
	}
}

func TestFence(t *testing.T) {
	f, store := fence(t)
	ctx := t.Context()
	holds := func(value string, token sync.Token) {
		t.Helper()
		got, at, err := f.Get(ctx, "k")
		if err != nil || string(got) != value || at != token {
			t.Errorf("Get: %q by %d, %v; want %q by %d", got, at, err, value, token)
		}
	}
	_, _, err := f.Get(ctx, "k")
	is(t, err, kv.ErrNotFound, "Get of nothing")
	is(t, f.Put(ctx, 5, "k", []byte("a")), nil, "Put")
	holds("a", 5)
	is(t, f.Put(ctx, 5, "k", []byte{}), nil, "Put by the same holder")
	holds("", 5)
	is(t, f.Put(ctx, 4, "k", []byte("b")), sync.ErrFenced, "Put by an earlier holder")
	is(t, f.Delete(ctx, 4, "k"), sync.ErrFenced, "Delete by an earlier holder")
	_, err = f.Take(ctx, 4, "k")
	is(t, err, sync.ErrFenced, "Take by an earlier holder")
	holds("", 5)
	is(t, f.Put(ctx, 0, "k", nil), sync.ErrInvalid, "Put without a token")

	is(t, f.Delete(ctx, 6, "k"), nil, "Delete")
	_, _, err = f.Get(ctx, "k")
	is(t, err, kv.ErrNotFound, "Get after Delete")
	is(t, f.Put(ctx, 5, "k", []byte("b")), sync.ErrFenced, "Put by an earlier holder, after Delete")
	is(t, f.Delete(ctx, 6, "k"), nil, "Delete again")

	_, err = f.Take(ctx, 7, "k")
	is(t, err, kv.ErrNotFound, "Take of what was deleted")
	is(t, f.Put(ctx, 6, "k", []byte("b")), sync.ErrFenced, "Put by an earlier holder, after Take")
	is(t, f.Put(ctx, 7, "k", []byte("c")), nil, "Put after Take")
	value, err := f.Take(ctx, 8, "k")
	if err != nil || string(value) != "c" {
		t.Errorf("Take: %q, %v", value, err)
	}
	holds("c", 8)

	for _, bad := range []string{"", "12345678", "12345678\x02x"} {
		if _, err := store.Put(ctx, "bad", []byte(bad)); err != nil {
			t.Fatal(err)
		}
		_, _, err := f.Get(ctx, "bad")
		is(t, err, sync.ErrInvalid, fmt.Sprintf("Get of %q", bad))
		is(t, f.Put(ctx, 9, "bad", nil), sync.ErrInvalid, fmt.Sprintf("Put over %q", bad))
	}
	is(t, f.Put(ctx, 9, "", nil), kv.ErrInvalid, "Put without a key")
}

// TestFenceContended lets many holders write concurrently. The largest token wins, and no write with a smaller one follows it.
func TestFenceContended(t *testing.T) {
	f, _ := fence(t)
	const holders = 32
	var group gosync.WaitGroup
	for token := sync.Token(1); token <= holders; token++ {
		group.Go(func() {
			for range 20 {
				if err := f.Put(t.Context(), token, "k", fmt.Append(nil, token)); err != nil && !errors.Is(err, sync.ErrFenced) {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	value, token, err := f.Get(t.Context(), "k")
	if err != nil || token != holders || string(value) != fmt.Sprint(holders) {
		t.Errorf("%q by %d, %v; want %d", value, token, err, holders)
	}
}
