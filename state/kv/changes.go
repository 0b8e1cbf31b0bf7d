package kv

import (
	"context"
	"iter"
	"maps"
	"slices"
)

// Change is a change of a Mirror.
type Change[T any] struct {
	// Item is the current item of the mirror. A removed item has only its key.
	Item TypedItem[T]
	// Removed is set if the mirror holds no item at the key.
	Removed bool
}

// Changes returns the items of the mirror, and then each item that changes, until ctx ends. A slow loop delays neither the mirror nor
// other loops: it receives only the last of several changes of an item. It may receive the same state of an item twice.
func (m *Mirror[T]) Changes(ctx context.Context) iter.Seq[Change[T]] {
	return func(yield func(Change[T]) bool) {
		s := m.subscribe()
		defer m.unsubscribe(s)
		for {
			for _, key := range m.take(s) {
				if ctx.Err() != nil || !yield(m.change(key)) {
					return
				}
			}
			select {
			case <-s.wake:
			case <-ctx.Done():
				return
			}
		}
	}
}

// subscription is one loop over Changes. The mutex of the mirror guards pending.
type subscription struct {
	wake    chan struct{}       // capacity 1: there are pending keys
	pending map[string]struct{} // keys that the loop has not received yet
}

func (m *Mirror[T]) subscribe() *subscription {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &subscription{wake: make(chan struct{}, 1), pending: make(map[string]struct{}, len(m.items))}
	for key := range m.items {
		s.pending[key] = struct{}{}
	}
	m.subscriptions[s] = struct{}{}
	return s
}

func (m *Mirror[T]) unsubscribe(s *subscription) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.subscriptions, s)
}

// notify reports a change of a key to all subscriptions. The caller holds the mutex.
func (m *Mirror[T]) notify(key string) {
	for s := range m.subscriptions {
		s.pending[key] = struct{}{}
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// take returns the pending keys of a subscription, in order.
func (m *Mirror[T]) take(s *subscription) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	keys := slices.Collect(maps.Keys(s.pending))
	s.pending = make(map[string]struct{})
	slices.Sort(keys)
	return keys
}

func (m *Mirror[T]) change(key string) Change[T] {
	item, ok := m.Get(key)
	item.Key = key
	return Change[T]{Item: item, Removed: !ok}
}
