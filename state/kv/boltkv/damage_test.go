package boltkv_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/boltkv"
)

// filled returns the content of a file with many items.
func filled(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "whole.db")
	s := kv.New(open(t, path), nil)
	for i := range 200 {
		if _, err := s.Put(t.Context(), fmt.Sprint("k", i), bytes.Repeat([]byte("v"), 2000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// TestTruncated opens files that were cut off at several sizes. The error names the file, and the file is unlocked afterwards.
func TestTruncated(t *testing.T) {
	whole := filled(t)
	path := filepath.Join(t.TempDir(), "kv.db")
	for _, size := range []int{3, 100, 4096, 8192, 10000, len(whole) / 4, len(whole) / 2} {
		if err := os.WriteFile(path, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the first leaves it unlocked for the second
			s, err := boltkv.Open(path, &boltkv.Options{LockTimeout: 100 * time.Millisecond})
			if err == nil {
				t.Errorf("a file of %d of %d bytes opens: %v", size, len(whole), s.Close())
				continue
			}
			if strings.Count(err.Error(), path) != 1 || strings.Contains(err.Error(), "in use") {
				t.Errorf("%d bytes: %v; want an error that names the file once, and the damage", size, err)
			}
		}
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(t, path).Close(); err != nil {
		t.Error(err)
	}
}

// TestScribbled overwrites pages at random. No call panics, and each error names the file.
func TestScribbled(t *testing.T) {
	whole := filled(t)
	const page = 4096
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 1))
		content := bytes.Clone(whole)
		for range 1 + random.IntN(20) {
			at := random.IntN(len(content)/page) * page
			for i := range page {
				content[at+i] = byte(random.Uint32())
			}
		}
		path := filepath.Join(t.TempDir(), "kv.db")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := boltkv.Open(path, &boltkv.Options{LockTimeout: 100 * time.Millisecond})
		if err != nil {
			if !strings.Contains(err.Error(), path) {
				t.Errorf("seed %d: Open: %v does not name the file", seed, err)
			}
			continue
		}
		s := kv.New(d, nil)
		for i := range 200 {
			_, err := s.Get(t.Context(), fmt.Sprint("k", i))
			if err != nil && !errors.Is(err, kv.ErrNotFound) && !strings.Contains(err.Error(), path) {
				t.Errorf("seed %d: Get: %v does not name the file", seed, err)
			}
		}
		for _, err := range s.List(t.Context(), "") {
			if err != nil && !strings.Contains(err.Error(), path) {
				t.Errorf("seed %d: List: %v does not name the file", seed, err)
			}
		}
		if _, err := s.Put(t.Context(), "k7", []byte("x"), kv.TTL(time.Hour)); err != nil && !strings.Contains(err.Error(), path) {
			t.Errorf("seed %d: Put: %v does not name the file", seed, err)
		}
		closes(t, s)
	}
}

// closes fails the test if Close does not return.
func closes(t *testing.T, s *kv.Store) {
	t.Helper()
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Errorf("Close: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Close does not return")
	}
}
