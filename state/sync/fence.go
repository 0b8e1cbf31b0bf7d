package sync

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/go-os/go-os/state/kv"
)

// Fence keeps items of a kv.Store from earlier holders: with each item it keeps the largest token that has written it, and refuses
// smaller ones. It is safe for concurrent use, by any number of processes, and of any value.
//
// An item is written by Fences alone, or its token is lost: in the store it is eight bytes of token, one that says whether it is
// deleted, and the value. A deleted item stays there, as those nine bytes, to keep its token.
type Fence struct {
	store *kv.Store
}

// NewFence returns a Fence around the items of a store, which must have the ability kv.CAS: calls return errors.ErrUnsupported if not.
// It gives no more than the store does: on a store that loses writes, a token may be lost with one.
func NewFence(store *kv.Store) *Fence { return &Fence{store} }

const (
	tokenBytes  = 8
	sealBytes   = tokenBytes + 1
	sealPresent = 0
	sealDeleted = 1
)

// Put writes a value under the protection of a token. It returns ErrFenced, and writes nothing, if somebody with a larger token
// has written the item before, and ErrInvalid for the token zero. All other errors are the store's.
func (f *Fence) Put(ctx context.Context, t Token, key string, value []byte) error {
	return f.write(ctx, t, key, sealPresent, value)
}

// Delete removes an item as Put writes one. A missing item is no error.
func (f *Fence) Delete(ctx context.Context, t Token, key string) error {
	return f.write(ctx, t, key, sealDeleted, nil)
}

// Get returns an item and the token that it was written with. It returns kv.ErrNotFound if there is none.
func (f *Fence) Get(ctx context.Context, key string) (value []byte, t Token, err error) {
	it, err := f.store.Get(ctx, key)
	if err != nil {
		return nil, 0, err
	}
	t, deleted, value, err := unseal(key, it.Value)
	if err == nil && deleted {
		err = &Error{Op: "fence", Name: key, Err: kv.ErrNotFound}
	}
	if err != nil {
		return nil, t, err
	}
	return value, t, nil
}

// write compares and sets until nobody has come between.
func (f *Fence) write(ctx context.Context, t Token, key string, mark byte, value []byte) error {
	if t == 0 {
		return &Error{Op: "fence", Name: key, Err: fmt.Errorf("%w: no token", ErrInvalid)}
	}
	sealed := append(append(binary.BigEndian.AppendUint64(make([]byte, 0, sealBytes+len(value)), uint64(t)), mark), value...)
	for {
		condition := kv.IfAbsent()
		it, err := f.store.Get(ctx, key)
		switch {
		case err == nil:
			highest, _, _, err := unseal(key, it.Value)
			if err != nil {
				return err
			}
			if highest > t {
				return &Error{Op: "fence", Name: key, Err: fmt.Errorf("%w: token %d came after %d had written", ErrFenced, t, highest)}
			}
			condition = kv.IfVersion(it.Version)
		case !errors.Is(err, kv.ErrNotFound):
			return err
		}
		if _, err := f.store.Put(ctx, key, sealed, condition); !errors.Is(err, kv.ErrConflict) {
			return err
		}
	}
}

func unseal(key string, sealed []byte) (t Token, deleted bool, value []byte, err error) {
	if len(sealed) < sealBytes || sealed[tokenBytes] > sealDeleted {
		return 0, false, nil, &Error{Op: "fence", Name: key, Err: fmt.Errorf("%w: the item was not written by a Fence", ErrInvalid)}
	}
	return Token(binary.BigEndian.Uint64(sealed)), sealed[tokenBytes] == sealDeleted, sealed[sealBytes:], nil
}
