// Package outside provides a key-value driver and a configuration source, both in memory, as another module would.
package outside

import (
	"context"
	"sync"
	"time"

	config "github.com/go-os/go-os/control/config/driver"
	kv "github.com/go-os/go-os/state/kv/driver"
)

// Store is a driver of state/kv.
type Store struct {
	mu      sync.Mutex
	items   map[string]kv.Item
	version kv.Version
}

// New returns an empty Store.
func New() *Store { return &Store{items: map[string]kv.Item{}} }

// Capabilities implements kv.Driver.
func (s *Store) Capabilities() kv.Capabilities {
	return kv.Capabilities{System: "map", Abilities: kv.CAS | kv.FreshReads, MaxKey: 1 << 10, MaxValue: 1 << 20}
}

// Get implements kv.Driver.
func (s *Store) Get(ctx context.Context, key string) (kv.Item, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	item, ok := s.items[key]
	if !ok {
		return kv.Item{}, kv.ErrNotFound
	}
	item.Value = append([]byte{}, item.Value...)
	return item, ctx.Err()
}

// Put implements kv.Driver.
func (s *Store) Put(ctx context.Context, req kv.PutRequest) (kv.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	item, exists := s.items[req.Key]
	if req.IfAbsent && exists || req.IfVersion != 0 && req.IfVersion != item.Version {
		return 0, kv.ErrConflict
	}
	s.version++
	s.items[req.Key] = kv.Item{Key: req.Key, Value: append([]byte{}, req.Value...), Version: s.version}
	return s.version, ctx.Err()
}

// Delete implements kv.Driver.
func (s *Store) Delete(ctx context.Context, req kv.DeleteRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if req.IfVersion != 0 && req.IfVersion != s.items[req.Key].Version {
		return kv.ErrConflict
	}
	delete(s.items, req.Key)
	return ctx.Err()
}

// Close implements kv.Driver.
func (s *Store) Close() error { return nil }

// Source is a source of configuration.
type Source struct {
	mu   sync.Mutex
	text string
}

// Write replaces the document.
func (s *Source) Write(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = text
}

// Name implements config.Source.
func (s *Source) Name() string { return "memory" }

// Read implements config.Source.
func (s *Source) Read(ctx context.Context) ([]config.Document, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return []config.Document{{Name: "memory.yaml", Format: "yaml", Data: []byte(s.text)}}, ctx.Err()
}

// Next implements config.Poller.
func (s *Source) Next(int) time.Duration { return 10 * time.Millisecond }
