package sync_test

import (
	"context"
	"testing"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/sync"
	"github.com/go-os/go-os/state/sync/memsync"
)

// TestFenceEpoch migrates to an engine whose tokens start over.
func TestFenceEpoch(t *testing.T) {
	old, store := fence(t)
	ctx := t.Context()
	is(t, old.Put(ctx, 1000, "k", []byte("old")), nil, "Put before the move")
	is(t, old.Put(ctx, 1, "k", nil), sync.ErrFenced, "Put after the move, in the old epoch")

	moved := sync.NewFence(store, &sync.FenceOptions{Epoch: 1})
	value, err := moved.Take(ctx, 1, "k")
	if err != nil || string(value) != "old" {
		t.Errorf("Take in the new epoch: %q, %v", value, err)
	}
	is(t, old.Put(ctx, 2000, "k", nil), sync.ErrFenced, "Put by a process of the old epoch")
	is(t, moved.Put(ctx, 2, "k", []byte("new")), nil, "Put in the new epoch")
	is(t, moved.Put(ctx, 1, "k", nil), sync.ErrFenced, "Put by an earlier holder of the new epoch")
	value, token, err := old.Get(ctx, "k")
	if err != nil || string(value) != "new" || token != 2 {
		t.Errorf("Get: %q by %d, %v", value, token, err)
	}
	is(t, moved.Delete(ctx, 3, "k"), nil, "Delete in the new epoch")
	_, _, err = moved.Get(ctx, "k")
	is(t, err, kv.ErrNotFound, "Get after Delete")
	is(t, old.Put(ctx, 2000, "k", nil), sync.ErrFenced, "Put by a process of the old epoch, after Delete")
}

// TestFenceEqualTokens writes one item under grants of two engines that have the same token.
func TestFenceEqualTokens(t *testing.T) {
	f, store := fence(t)
	first, err := memory(t, memsync.New(nil)).Mutex("m").Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := memory(t, memsync.New(nil)).Mutex("m").Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	token := first.Token()
	if second.Token() != token {
		t.Fatalf("tokens %d and %d: the test needs equal ones", token, second.Token())
	}
	derived, cancel := context.WithCancel(first.Context())
	defer cancel()
	is(t, f.Put(derived, token, "k", []byte("a")), nil, "Put by the first")
	is(t, f.Put(second.Context(), token, "k", []byte("b")), sync.ErrFenced, "Put by the second")
	_, err = f.Take(second.Context(), token, "k")
	is(t, err, sync.ErrFenced, "Take by the second")
	is(t, f.Put(first.Context(), token, "k", []byte("c")), nil, "Put by the first again")
	is(t, f.Put(t.Context(), token, "k", []byte("d")), nil, "Put by a server that was given the token")
	is(t, f.Put(second.Context(), token, "k", []byte("b")), sync.ErrFenced, "Put by the second, after that")
	value, _, err := f.Get(t.Context(), "k")
	if err != nil || string(value) != "d" {
		t.Errorf("Get: %q, %v", value, err)
	}
	is(t, f.Put(second.Context(), token+1, "k", []byte("e")), nil, "Put with a larger token")
	raised := sync.NewFence(store, &sync.FenceOptions{Epoch: 1})
	is(t, raised.Put(second.Context(), token, "k", []byte("f")), nil, "Put by the second in a new epoch")
}

// TestFenceNestedGrants writes under two grants that have the same token. Either context is valid for the item.
func TestFenceNestedGrants(t *testing.T) {
	f, _ := fence(t)
	outer, err := memory(t, memsync.New(nil)).Mutex("m").Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	inner, err := memory(t, memsync.New(nil)).Mutex("n").Lock(outer.Context())
	if err != nil {
		t.Fatal(err)
	}
	if inner.Token() != outer.Token() {
		t.Fatalf("tokens %d and %d: the test needs equal ones", outer.Token(), inner.Token())
	}
	for _, ctx := range []context.Context{inner.Context(), outer.Context(), inner.Context()} {
		is(t, f.Put(ctx, outer.Token(), "k", nil), nil, "Put")
	}
}
