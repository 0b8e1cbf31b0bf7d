package kv

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"
)

// Codec turns values of T into bytes and back. It must be safe for concurrent use.
type Codec[T any] interface {
	Encode(T) ([]byte, error)
	Decode([]byte) (T, error)
}

// JSON returns the codec of encoding/json.
func JSON[T any]() Codec[T] { return jsonCodec[T]{} }

type jsonCodec[T any] struct{}

// Encode implements Codec.
func (jsonCodec[T]) Encode(v T) ([]byte, error) { return json.Marshal(v) }

// Decode implements Codec.
func (jsonCodec[T]) Decode(data []byte) (v T, err error) {
	err = json.Unmarshal(data, &v)
	return v, err
}

// TypedOptions configure NewTyped.
type TypedOptions[T any] struct {
	// Codec of the values. Default: JSON.
	Codec Codec[T]
}

// Typed is a Store whose values are of one type. It is safe for concurrent use.
type Typed[T any] struct {
	store *Store
	codec Codec[T]
}

// NewTyped returns a view of s.
func NewTyped[T any](s *Store, opts *TypedOptions[T]) *Typed[T] {
	if s == nil {
		s = New(nil, nil)
	}
	t := &Typed[T]{store: s, codec: JSON[T]()}
	if opts != nil && opts.Codec != nil {
		t.codec = opts.Codec
	}
	return t
}

// TypedItem is an Item whose value is a T.
type TypedItem[T any] struct {
	// Key of the item.
	Key string
	// Value of the item.
	Value T
	// Version changes with every write of the key.
	Version Version
	// TTL is the time left, if the engine reports it.
	TTL time.Duration
}

// Get returns the item at key. It returns ErrNotFound if there is none, and ErrInvalid if the value is not a T.
func (t *Typed[T]) Get(ctx context.Context, key string) (TypedItem[T], error) {
	it, err := t.store.Get(ctx, key)
	if err != nil {
		return TypedItem[T]{}, err
	}
	return t.decode("get", it)
}

// decode returns the item with its decoded value. On an error, all other fields are set.
func (t *Typed[T]) decode(op string, it Item) (TypedItem[T], error) {
	v, err := t.codec.Decode(it.Value)
	item := TypedItem[T]{Key: it.Key, Value: v, Version: it.Version, TTL: it.TTL}
	if err != nil {
		return item, &Error{Op: op, Key: it.Key, Err: fmt.Errorf("%w: the value is not a %T: %w", ErrInvalid, v, err)}
	}
	return item, nil
}

// Put writes a value as Store.Put does. A value that the codec refuses is ErrInvalid.
func (t *Typed[T]) Put(ctx context.Context, key string, value T, opts ...PutOption) (Version, error) {
	data, err := t.encode("put", key, value)
	if err != nil {
		return 0, err
	}
	return t.store.Put(ctx, key, data, opts...)
}

func (t *Typed[T]) encode(op, key string, value T) ([]byte, error) {
	data, err := t.codec.Encode(value)
	if err != nil {
		return nil, &Error{Op: op, Key: key, Err: fmt.Errorf("%w: the value cannot be encoded: %w", ErrInvalid, err)}
	}
	return data, nil
}

// Update changes a value as Store.Update does. change returns SkipUpdate to leave the item unchanged, and DeleteItem to delete it. For a
// key that does not exist, only the Key of old is set. A value that is not a T, or that the codec refuses, is ErrInvalid.
func (t *Typed[T]) Update(
	ctx context.Context, key string, change func(old TypedItem[T]) (T, error), opts ...PutOption,
) (Version, error) {
	if change == nil {
		return t.store.Update(ctx, key, nil, opts...)
	}
	return t.store.Update(ctx, key, func(old Item) ([]byte, error) {
		item, err := TypedItem[T]{Key: key}, error(nil)
		if old.Version != 0 {
			item, err = t.decode("update", old)
		}
		if err != nil {
			return nil, err
		}
		value, err := change(item)
		if err != nil {
			return nil, err
		}
		return t.encode("update", key, value)
	}, opts...)
}

// Delete deletes an item as Store.Delete does.
func (t *Typed[T]) Delete(ctx context.Context, key string, opts ...DeleteOption) error {
	return t.store.Delete(ctx, key, opts...)
}

// List returns items as Store.List does. A value that is not a T comes with an error that wraps ErrInvalid, and does not end the list.
func (t *Typed[T]) List(ctx context.Context, prefix string) iter.Seq2[TypedItem[T], error] {
	return func(yield func(TypedItem[T], error) bool) {
		for it, err := range t.store.List(ctx, prefix) {
			if err != nil {
				yield(TypedItem[T]{}, err)
				return
			}
			if !yield(t.decode("list", it)) {
				return
			}
		}
	}
}

// TypedEvent is an Event whose item is typed.
type TypedEvent[T any] struct {
	// Kind of the event.
	Kind EventKind
	// Item that was written. After a deletion it has only the key.
	Item TypedItem[T]
	// Position is the position after this event, for From.
	Position Version
}

// Watch watches a key as Store.Watch does. A value that is not a T comes with an error that wraps ErrInvalid, and does not end the watch.
func (t *Typed[T]) Watch(ctx context.Context, key string, opts ...WatchOption) iter.Seq2[TypedEvent[T], error] {
	return t.events(t.store.Watch(ctx, key, opts...))
}

// WatchPrefix watches keys as Store.WatchPrefix does. A value that is not a T comes with an error that wraps ErrInvalid, and does not end
// the watch.
func (t *Typed[T]) WatchPrefix(ctx context.Context, prefix string, opts ...WatchOption) iter.Seq2[TypedEvent[T], error] {
	return t.events(t.store.WatchPrefix(ctx, prefix, opts...))
}

func (t *Typed[T]) events(events iter.Seq2[Event, error]) iter.Seq2[TypedEvent[T], error] {
	return func(yield func(TypedEvent[T], error) bool) {
		for ev, err := range events {
			typed := TypedEvent[T]{Kind: ev.Kind, Position: ev.Position}
			typed.Item.Key = ev.Item.Key
			if err == nil && ev.Kind == EventPut {
				typed.Item, err = t.decode("watch", ev.Item)
			}
			if !yield(typed, err) {
				return
			}
		}
	}
}
