package kv

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"sync"
	"time"

	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/life"
)

// MirrorOptions configure NewMirror.
type MirrorOptions[T any] struct {
	// Codec of the values. Default: JSON.
	Codec Codec[T]
}

// MirrorState describes how complete and current a mirror is.
type MirrorState uint8

// The states of a mirror.
const (
	// MirrorFilling: the mirror has never been complete. Its items are current, and others are missing.
	MirrorFilling MirrorState = iota
	// MirrorCurrent: the mirror is complete, and its watch is established.
	MirrorCurrent
	// MirrorStale: the mirror has been complete, and may be stale. The watch has lost its connection or its position, or Run has
	// returned.
	MirrorStale
)

// String names the state.
func (s MirrorState) String() string {
	switch s {
	case MirrorFilling:
		return "filling"
	case MirrorCurrent:
		return "current"
	case MirrorStale:
		return "stale"
	default:
		return "unknown"
	}
}

// MirrorStatus is the result of Mirror.Status.
type MirrorStatus struct {
	// State of the mirror.
	State MirrorState
	// Stale is the time since the mirror was last known to be current. It is zero in the states MirrorFilling and MirrorCurrent.
	Stale time.Duration
	// Items is the number of items that the mirror holds.
	Items int
	// Invalid is the number of items that are missing because their value is not a T. Mirror.Invalid lists them.
	Invalid int
}

// Mirror is a live, typed copy of all items below a prefix, in the memory of the process. It is safe for concurrent use.
//
//	mirror, err := kv.NewMirror[Route](store, "route/", nil)
//	…
//	go mirror.Run(ctx)
//	select {
//	case <-mirror.Complete():
//	case <-ctx.Done(): // the engine has not answered
//	}
//	item, ok := mirror.Get("route/eu")
//
// Reads do no I/O and never wait for the engine. Keys are those of the store, with the prefix: for keys without one, mirror
// a Namespace with an empty prefix.
//
// # Staleness
//
// A mirror can be read while it fills. Once it is complete, it stays readable. While the engine is unreachable, it holds the last known
// items, and Status reports for how long. When the watch has to resync, as after a compaction, items are replaced one by one, and those
// that no longer exist are removed at the end. A reader never finds the mirror empty. An item whose TTL ends is removed when the engine
// reports it.
//
// A value that is not a T is reported once, as an event, and listed by Invalid. Its key is missing from the mirror until it is
// written again, and no other item is affected.
//
// # Cost
//
// An item takes 40 to 100 bytes in addition to its key and its value, depending on how full the map is. All readers share the values: do
// not modify data that a T points to.
type Mirror[T any] struct {
	store    *Store
	prefix   string
	typed    *Typed[T]
	complete chan struct{} // closed when the mirror is complete for the first time
	running  life.Running

	mu            sync.RWMutex
	items         map[string]mirrored[T]
	invalid       map[string]mirrored[error]
	snapshot      uint64 // number of the latest snapshot
	state         MirrorState
	staleSince    time.Time // set in the state MirrorStale
	subscriptions map[*subscription]struct{}
}

// mirrored is an item in a mirror.
type mirrored[V any] struct {
	value    V
	version  Version
	snapshot uint64 // number of the last snapshot that contained the item
}

// NewMirror returns an empty mirror of the items of s whose keys begin with prefix; an empty prefix means all. Run fills it. NewMirror
// returns errors.ErrUnsupported if the engine lacks the ability Watch, and ErrInvalid if the prefix is not UTF-8.
func NewMirror[T any](s *Store, prefix string, opts *MirrorOptions[T]) (*Mirror[T], error) {
	m := &Mirror[T]{
		store: s, prefix: prefix, complete: make(chan struct{}),
		items: make(map[string]mirrored[T]), invalid: make(map[string]mirrored[error]), subscriptions: make(map[*subscription]struct{}),
	}
	if s == nil {
		return nil, m.failed(fmt.Errorf("%w: no store: give NewMirror one from New", ErrInvalid))
	}
	if err := s.usable(context.Background()); err != nil {
		return nil, m.failed(err)
	}
	if err := s.engine.able(Watch); err != nil {
		return nil, m.failed(err)
	}
	if _, err := s.full(prefix); err != nil {
		return nil, m.failed(err)
	}
	m.typed = NewTyped(s, &TypedOptions[T]{Codec: defaults.Copy(opts).Codec})
	return m, nil
}

func (m *Mirror[T]) failed(err error) error { return &Error{Op: "mirror", Key: m.prefix, Err: err} }

// Run fills the mirror and keeps it in step with the store until ctx ends, and then returns nil. It reconnects with the backoff of the
// store's Options until ctx ends. Run returns ErrClosed if the store is closed, and ErrInvalid if the mirror is already running. It may
// be called again after it has returned: the mirror keeps its items.
func (m *Mirror[T]) Run(ctx context.Context) error {
	end, err := m.running.Begin()
	if err != nil {
		return m.failed(err)
	}
	defer end()
	defer m.stale()
	for ev, err := range m.store.WatchPrefix(ctx, m.prefix, Current()) {
		if err != nil {
			return err
		}
		switch ev.Kind {
		case EventResync:
			m.restart()
		case EventPut:
			m.put(ctx, ev.Item)
		case EventDelete:
			m.remove(ev.Item.Key)
		case EventSynced:
			m.synced()
		case EventLost:
			m.stale()
		}
	}
	return nil
}

// restart starts a snapshot. The items stay until the snapshot is complete.
func (m *Mirror[T]) restart() {
	m.stale()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.snapshot++
}

// stale records the time since which the mirror may be stale, if it has ever been complete.
func (m *Mirror[T]) stale() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state == MirrorCurrent {
		m.state, m.staleSince = MirrorStale, time.Now()
	}
}

// synced ends a snapshot, if one is in progress. Items that the snapshot did not contain no longer exist.
func (m *Mirror[T]) synced() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, held := range m.items {
		if held.snapshot != m.snapshot {
			delete(m.items, key)
			m.notify(key)
		}
	}
	maps.DeleteFunc(m.invalid, func(_ string, held mirrored[error]) bool { return held.snapshot != m.snapshot })
	if m.state == MirrorFilling {
		close(m.complete)
	}
	m.state = MirrorCurrent
}

func (m *Mirror[T]) put(ctx context.Context, it Item) {
	if m.holds(it) {
		return
	}
	item, err := m.typed.decode("mirror", it)
	if err != nil {
		m.report(ctx, it.Key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		delete(m.items, it.Key)
		m.invalid[it.Key] = mirrored[error]{err, it.Version, m.snapshot}
	} else {
		delete(m.invalid, it.Key)
		m.items[it.Key] = mirrored[T]{item.Value, it.Version, m.snapshot}
	}
	m.notify(it.Key)
}

// holds reports whether the mirror already has this version of an item, and marks it as part of the snapshot.
func (m *Mirror[T]) holds(it Item) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if held, ok := m.items[it.Key]; ok && held.version == it.Version {
		held.snapshot = m.snapshot
		m.items[it.Key] = held
		return true
	}
	if held, ok := m.invalid[it.Key]; ok && held.version == it.Version {
		held.snapshot = m.snapshot
		m.invalid[it.Key] = held
		return true
	}
	return false
}

// report reports an item that the mirror cannot hold.
func (m *Mirror[T]) report(ctx context.Context, key string, err error) {
	engine := m.store.engine
	engine.mirrorInvalid.EmitError(ctx, err, keyAttr.String(key))
	engine.invalidItems.Add(ctx, 1, engine.attrs)
}

func (m *Mirror[T]) remove(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.invalid, key)
	if _, ok := m.items[key]; ok {
		delete(m.items, key)
		m.notify(key)
	}
}

// Get returns the item at key, if the mirror holds one. Its TTL is zero.
func (m *Mirror[T]) Get(key string) (item TypedItem[T], ok bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	held, ok := m.items[key]
	if !ok {
		return TypedItem[T]{}, false
	}
	return TypedItem[T]{Key: key, Value: held.value, Version: held.version}, true
}

// All returns the items as of one moment, in no particular order. The loop does not delay the mirror.
func (m *Mirror[T]) All() iter.Seq[TypedItem[T]] {
	return func(yield func(TypedItem[T]) bool) {
		for _, item := range m.copied() {
			if !yield(item) {
				return
			}
		}
	}
}

func (m *Mirror[T]) copied() []TypedItem[T] {
	m.mu.RLock()
	defer m.mu.RUnlock()
	all := make([]TypedItem[T], 0, len(m.items))
	for key, held := range m.items {
		all = append(all, TypedItem[T]{Key: key, Value: held.value, Version: held.version})
	}
	return all
}

// Len returns the number of items that the mirror holds.
func (m *Mirror[T]) Len() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.items)
}

// Invalid returns the keys whose values are not a T, each with an *Error that wraps ErrInvalid and the error of the codec.
func (m *Mirror[T]) Invalid() map[string]error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	all := make(map[string]error, len(m.invalid))
	for key, held := range m.invalid {
		all[key] = held.value
	}
	return all
}

// Complete returns a channel that is closed once the mirror has been complete. It stays closed when the mirror becomes stale.
func (m *Mirror[T]) Complete() <-chan struct{} { return m.complete }

// Status returns the state and the staleness of the mirror.
func (m *Mirror[T]) Status() MirrorStatus {
	m.mu.RLock()
	defer m.mu.RUnlock()
	status := MirrorStatus{State: m.state, Items: len(m.items), Invalid: len(m.invalid)}
	if m.state == MirrorStale {
		status.Stale = time.Since(m.staleSince)
	}
	return status
}
