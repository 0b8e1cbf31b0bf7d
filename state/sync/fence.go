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
// has written or taken the item before, and ErrInvalid for the token zero. All other errors are the store's.
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
	t, mark, value, err := unseal(key, it.Value)
	if err == nil && mark == sealDeleted {
		err = &Error{Op: "fence", Name: key, Err: kv.ErrNotFound}
	}
	if err != nil {
		return nil, t, err
	}
	return value, t, nil
}

// Take is Get for a holder that goes on to write what it makes of the value: from then on, earlier holders are refused, though nothing
// else has been written. It returns kv.ErrNotFound if there is no item, and keeps the token all the same.
func (f *Fence) Take(ctx context.Context, t Token, key string) (value []byte, err error) {
	var deleted bool
	err = f.update(ctx, t, key, func(was byte, old []byte) (byte, []byte) {
		deleted, value = was == sealDeleted, old
		return was, old
	})
	if err == nil && deleted {
		return nil, &Error{Op: "fence", Name: key, Err: kv.ErrNotFound}
	}
	return value, err
}

func (f *Fence) write(ctx context.Context, t Token, key string, mark byte, value []byte) error {
	return f.update(ctx, t, key, func(byte, []byte) (byte, []byte) { return mark, value })
}

// update compares and sets until nobody has come between. A missing item is made as if it had been deleted.
func (f *Fence) update(ctx context.Context, t Token, key string, next func(mark byte, value []byte) (byte, []byte)) error {
	if t == 0 {
		return &Error{Op: "fence", Name: key, Err: fmt.Errorf("%w: no token", ErrInvalid)}
	}
	for {
		old, mark, condition := []byte(nil), byte(sealDeleted), kv.PutOption(kv.IfAbsent())
		it, err := f.store.Get(ctx, key)
		switch {
		case err == nil:
			var highest Token
			if highest, mark, old, err = unseal(key, it.Value); err != nil {
				return err
			}
			if highest > t {
				return &Error{Op: "fence", Name: key, Err: fmt.Errorf("%w: token %d came after %d had written", ErrFenced, t, highest)}
			}
			condition = kv.IfVersion(it.Version)
		case !errors.Is(err, kv.ErrNotFound):
			return err
		}
		mark, value := next(mark, old)
		sealed := append(append(binary.BigEndian.AppendUint64(make([]byte, 0, sealBytes+len(value)), uint64(t)), mark), value...)
		if _, err := f.store.Put(ctx, key, sealed, condition); !errors.Is(err, kv.ErrConflict) {
			return err
		}
	}
}

func unseal(key string, sealed []byte) (t Token, mark byte, value []byte, err error) {
	if len(sealed) < sealBytes || sealed[tokenBytes] > sealDeleted {
		return 0, 0, nil, &Error{Op: "fence", Name: key, Err: fmt.Errorf("%w: the item was not written by a Fence", ErrInvalid)}
	}
	return Token(binary.BigEndian.Uint64(sealed)), sealed[tokenBytes], sealed[sealBytes:], nil
}
