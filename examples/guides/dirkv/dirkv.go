// Package dirkv keeps items in a folder, one file each. It is the driver of docs/guides/write-a-driver.md: small and complete, but not for
// production. Use boltkv to keep items on a disk.
//
// Guarantees:
//   - Writes are atomic, and conditions are checked by one process at a time.
//   - A version is 64 random bits, so it does not repeat.
//   - A crash of the machine may lose acknowledged writes: files are not synced.
package dirkv

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/go-os/go-os/state/kv/driver"
)

// The limits of the engine. A file name has at most 255 bytes, and each byte of a key takes two.
const (
	MaxKey   = 127
	MaxValue = 1 << 20
)

// versionSize is the length of a version in bytes. Each file holds the version, then the value.
const versionSize = 8

// Driver implements driver.Driver. It is safe for concurrent use.
type Driver struct {
	dir string

	mu sync.Mutex // held by each write, so that a condition and its write are one step
}

// New returns a driver that keeps items in a folder, which must exist.
func New(dir string) *Driver { return &Driver{dir: dir} }

// Capabilities implements driver.Driver.
func (s *Driver) Capabilities() driver.Capabilities {
	return driver.Capabilities{
		System:    "files",
		Abilities: driver.CAS | driver.List | driver.FreshReads,
		MaxKey:    MaxKey,
		MaxValue:  MaxValue,
	}
}

// Get implements driver.Driver.
func (s *Driver) Get(ctx context.Context, key string) (driver.Item, error) {
	if err := ctx.Err(); err != nil {
		return driver.Item{}, err
	}
	return s.read(key)
}

func (s *Driver) read(key string) (driver.Item, error) {
	data, err := os.ReadFile(s.path(key))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return driver.Item{}, driver.ErrNotFound
	case err != nil:
		return driver.Item{}, driver.Classify(driver.ErrUnavailable, err)
	case len(data) < versionSize:
		return driver.Item{}, driver.Classify(driver.ErrUnavailable, fmt.Errorf("%s is truncated", s.path(key)))
	}
	version := driver.Version(binary.BigEndian.Uint64(data))
	return driver.Item{Key: key, Value: data[versionSize:], Version: version}, nil
}

// Put implements driver.Driver.
func (s *Driver) Put(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.check(req.Key, req.IfAbsent, req.IfVersion); err != nil {
		return 0, err
	}
	version := rand.Uint64()
	data := append(binary.BigEndian.AppendUint64(nil, version), req.Value...)
	if err := s.write(s.path(req.Key), data); err != nil {
		return 0, driver.Classify(driver.ErrUnavailable, err)
	}
	return driver.Version(version), nil
}

// check returns ErrConflict if the condition of a write does not hold.
func (s *Driver) check(key string, absent bool, version driver.Version) error {
	if !absent && version == 0 {
		return nil
	}
	item, err := s.read(key)
	switch {
	case errors.Is(err, driver.ErrNotFound) && absent:
		return nil
	case errors.Is(err, driver.ErrNotFound), err == nil && item.Version != version:
		return driver.ErrConflict
	}
	return err
}

// write replaces a file atomically, so that a reader never sees half of it.
func (s *Driver) write(path string, data []byte) error {
	file, err := os.CreateTemp(s.dir, ".new-*")
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

// Delete implements driver.Driver.
func (s *Driver) Delete(ctx context.Context, req driver.DeleteRequest) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.check(req.Key, false, req.IfVersion); err != nil {
		return err
	}
	if err := os.Remove(s.path(req.Key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return driver.Classify(driver.ErrUnavailable, err)
	}
	return nil
}

// Close implements driver.Driver. No file is open between two calls.
func (s *Driver) Close() error { return nil }

// List implements driver.Lister. os.ReadDir sorts by name, and hexadecimal names sort like the bytes of their keys.
func (s *Driver) List(ctx context.Context, req driver.ListRequest) (driver.Page, error) {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return driver.Page{}, driver.Classify(driver.ErrUnavailable, err)
	}
	after, _ := req.Next.(string)
	var page driver.Page
	for _, file := range files {
		key, err := hex.DecodeString(file.Name())
		if err != nil || file.Name() <= after || !strings.HasPrefix(string(key), req.Prefix) {
			continue // not an item, on an earlier page, or without the prefix
		}
		if len(page.Items) == req.Limit {
			page.Next = hex.EncodeToString([]byte(page.Items[req.Limit-1].Key))
			return page, nil
		}
		item, err := s.Get(ctx, string(key))
		switch {
		case err == nil:
			page.Items = append(page.Items, item)
		case !errors.Is(err, driver.ErrNotFound): // deleted meanwhile
			return driver.Page{}, err
		}
	}
	return page, nil
}

// path returns the file of a key. In hexadecimal digits every key is a valid file name.
func (s *Driver) path(key string) string {
	return filepath.Join(s.dir, hex.EncodeToString([]byte(key)))
}
