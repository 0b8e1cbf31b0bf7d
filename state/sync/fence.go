package sync

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/state/kv"
)

// Fence protects items of a kv.Store from earlier holders. With each item it stores the largest token that has written the item, and
// refuses smaller ones. It is safe for concurrent use by any number of processes.
//
// Only Fences may write an item, or its token is lost. A deleted item stays in the store, without its value, to keep the token.
//
// # Other engines and restores
//
// Tokens are comparable as long as one engine issues them and keeps its data. After a move to another engine, or a restore from a backup,
// a new holder may have a smaller token than the item. It is then refused until the tokens have caught up, which may never happen. It may
// also have the same token as an earlier holder.
//
//   - To continue, raise FenceOptions.Epoch in all processes. An item takes any token of a larger epoch, and then refuses all smaller epochs,
//     so processes that still have the old epoch get ErrFenced.
//   - If the context of a call is a grant's, or derived from one, the item also records the grant that wrote it. It then refuses an
//     equal token of another grant. It cannot do so for a token that came with a request from another process.
type Fence struct {
	store *kv.Store
	epoch uint32
	fault error // of every call; nil unless there is no store
}

// FenceOptions configure NewFence.
type FenceOptions struct {
	// Epoch precedes the token in all comparisons. All processes that write an item must use the same epoch. Raise it when tokens start
	// over: after a move to another engine, or a restore from a backup. Never lower it. Default: 0.
	Epoch uint32
}

// NewFence returns a Fence for the items of a store. Calls return ErrInvalid if the store is nil, and errors.ErrUnsupported if it lacks
// the ability kv.CAS. A Fence promises no more than its store: a store that loses writes may lose tokens with them.
func NewFence(store *kv.Store, opts *FenceOptions) *Fence {
	return &Fence{store: store, epoch: defaults.Copy(opts).Epoch, fault: defaults.Given("sync: NewFence", "store", store)}
}

// Put writes a value under the protection of a token. It returns ErrFenced and writes nothing if a holder with a larger token has written
// or taken the item, and ErrInvalid for the token zero. All other errors are those of the store.
func (f *Fence) Put(ctx context.Context, t Token, key string, value []byte) error {
	return f.write(ctx, t, key, value, false)
}

// Delete removes an item under the protection of a token. Its errors are those of Put. A missing item is not an error.
func (f *Fence) Delete(ctx context.Context, t Token, key string) error {
	return f.write(ctx, t, key, nil, true)
}

// Get returns an item and the token that it was written with. It returns kv.ErrNotFound if the item does not exist.
func (f *Fence) Get(ctx context.Context, key string) (value []byte, t Token, err error) {
	if f.fault != nil {
		return nil, 0, &Error{Op: "fence", Name: key, Err: f.fault}
	}
	it, err := f.store.Get(ctx, key)
	if err != nil {
		return nil, 0, ofStore(key, err)
	}
	s, err := unseal(key, it.Value)
	if err == nil && s.deleted {
		err = &Error{Op: "fence", Name: key, Err: kv.ErrNotFound}
	}
	if err != nil {
		return nil, s.token, err
	}
	return s.value, s.token, nil
}

// Take reads an item like Get, for a holder that will write a value derived from it. From then on, earlier holders are refused, although
// nothing else has been written. If the item does not exist, Take returns kv.ErrNotFound and still records the token.
func (f *Fence) Take(ctx context.Context, t Token, key string) (value []byte, err error) {
	taken := seal{}
	err = f.update(ctx, t, key, func(old seal) seal {
		taken = old
		return old
	})
	if err == nil && taken.deleted {
		return nil, &Error{Op: "fence", Name: key, Err: kv.ErrNotFound}
	}
	return taken.value, err
}

func (f *Fence) write(ctx context.Context, t Token, key string, value []byte, deleted bool) error {
	return f.update(ctx, t, key, func(seal) seal { return seal{value: value, deleted: deleted} })
}

// update is a read-modify-write by compare-and-set, which retries after a conflict. next returns the new value, and whether the item is
// deleted. A missing item counts as deleted.
func (f *Fence) update(ctx context.Context, t Token, key string, next func(old seal) seal) error {
	if f.fault != nil {
		return &Error{Op: "fence", Name: key, Err: f.fault}
	}
	if t == 0 {
		return &Error{Op: "fence", Name: key, Err: fmt.Errorf("%w: no token: use Grant.Token", ErrInvalid)}
	}
	for {
		old, condition := seal{deleted: true}, kv.PutOption(kv.IfAbsent())
		it, err := f.store.Get(ctx, key)
		switch {
		case err == nil:
			if old, err = unseal(key, it.Value); err != nil {
				return err
			}
			condition = kv.IfVersion(it.Version)
		case !errors.Is(err, kv.ErrNotFound):
			return ofStore(key, err)
		}
		grant, err := f.admit(old, t, grantsOf(ctx, t))
		if err != nil {
			return &Error{Op: "fence", Name: key, Err: err}
		}
		s := next(old)
		s.token, s.epoch, s.grant = t, f.epoch, grant
		if _, err := f.store.Put(ctx, key, s.bytes(), condition); !errors.Is(err, kv.ErrConflict) {
			return ofStore(key, err)
		}
	}
}

// ofStore converts an error of the store to one of the Fence. It keeps only the cause, because both errors name the key.
func ofStore(key string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*kv.Error](err); ok {
		err = e.Err
	}
	return &Error{Op: "fence", Name: key, Err: err}
}

// admit returns ErrFenced if an item refuses a token. Otherwise it returns the grant to store with the item: the caller's if it is known, or
// else the one that is stored. grants are the caller's grants with this token.
func (f *Fence) admit(old seal, t Token, grants []uint64) (grant uint64, err error) {
	switch {
	case old.epoch > f.epoch:
		return 0, fmt.Errorf("%w: epoch %d came after epoch %d had written", ErrFenced, f.epoch, old.epoch)
	case old.epoch == f.epoch && old.token > t:
		return 0, fmt.Errorf("%w: token %d came after %d had written", ErrFenced, t, old.token)
	case old.epoch == f.epoch && old.token == t && old.grant != 0:
		if len(grants) > 0 && !slices.Contains(grants, old.grant) {
			return 0, fmt.Errorf("%w: another grant has written with the same token %d: after a change of the engine, raise FenceOptions.Epoch", ErrFenced, t)
		}
		return old.grant, nil
	case len(grants) == 1: // with several, it is unknown which one protects the item
		return grants[0], nil
	default:
		return 0, nil
	}
}

// grantsOf returns the identities of the grants with this token that ctx belongs to.
func grantsOf(ctx context.Context, t Token) (grants []uint64) {
	for g := grantOf(ctx); g != nil; g = g.outer() {
		if g.Token() == t {
			sum := sha256.Sum256([]byte(g.claim.ID + " " + g.claim.Name))
			grants = append(grants, binary.BigEndian.Uint64(sum[:]))
		}
	}
	return grants
}

// seal is an item of a Fence: eight bytes of token, one of flags, four of epoch and eight of grant if they are not zero, and the value.
type seal struct {
	token   Token
	epoch   uint32
	grant   uint64
	deleted bool
	value   []byte
}

// The flags of a seal.
const (
	sealDeleted = 1 << iota
	sealEpoch
	sealGrant
	sealFlags // the first value that is not a flag
)

func (s seal) bytes() []byte {
	sealed := binary.BigEndian.AppendUint64(make([]byte, 0, 21+len(s.value)), uint64(s.token))
	var flags byte
	if s.deleted {
		flags |= sealDeleted
	}
	if s.epoch != 0 {
		flags |= sealEpoch
	}
	if s.grant != 0 {
		flags |= sealGrant
	}
	sealed = append(sealed, flags)
	if s.epoch != 0 {
		sealed = binary.BigEndian.AppendUint32(sealed, s.epoch)
	}
	if s.grant != 0 {
		sealed = binary.BigEndian.AppendUint64(sealed, s.grant)
	}
	return append(sealed, s.value...)
}

func unseal(key string, sealed []byte) (s seal, err error) {
	foreign := &Error{Op: "fence", Name: key, Err: fmt.Errorf("%w: the item was not written by a Fence", ErrInvalid)}
	const least = 9
	if len(sealed) < least || sealed[8] >= sealFlags {
		return s, foreign
	}
	flags, rest := sealed[8], sealed[least:]
	s.token, s.deleted = Token(binary.BigEndian.Uint64(sealed)), flags&sealDeleted != 0
	if flags&sealEpoch != 0 {
		if len(rest) < 4 {
			return s, foreign
		}
		s.epoch, rest = binary.BigEndian.Uint32(rest), rest[4:]
	}
	if flags&sealGrant != 0 {
		if len(rest) < 8 {
			return s, foreign
		}
		s.grant, rest = binary.BigEndian.Uint64(rest), rest[8:]
	}
	s.value = rest
	return s, nil
}
