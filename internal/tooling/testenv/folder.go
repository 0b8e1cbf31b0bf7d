package testenv

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

const (
	// enoughMemory is how much memory must be free to keep an engine's files there. An etcd alone reserves 128 MB for its log.
	enoughMemory = 4 << 30
	// folderPrefix is the prefix of the in-memory folders of test processes.
	folderPrefix = "go-os-test-"
	// folderLock is the file in such a folder that its process keeps locked.
	folderLock = "lock"
)

// newFolder returns an empty folder for the files of an engine, which is removed when the test ends. Under Run on Linux, it is in memory if
// enough is free: engines sync their files with every write, and no test needs files that outlive the machine.
func newFolder(t testing.TB) string {
	t.Helper()
	own := ownFolder()
	if own == nil || freeMemory(own.path) < enoughMemory {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(own.path, "engine-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("the folder of an engine: %v", err)
		}
	})
	return dir
}

// processFolder is the folder of one process. Other processes sweep it when this one has ended.
type processFolder struct {
	path   string
	unlock func() // called by tests only; it keeps the lock file reachable, whose finalizer would unlock the folder
}

// inMemory is set by Run.
var inMemory atomic.Bool

// ownFolder returns the in-memory folder of this test process, or nil if it has none.
func ownFolder() *processFolder {
	if memoryFolder == "" || !inMemory.Load() {
		return nil
	}
	return claimOwnFolder()
}

var claimOwnFolder = sync.OnceValue(func() *processFolder {
	sweep(memoryFolder)
	own, err := claimFolder(memoryFolder)
	if err != nil {
		return nil // files are then on disk
	}
	return own
})

// claimFolder makes a folder that no process sweeps while this one lives.
func claimFolder(parent string) (*processFolder, error) {
	for {
		dir, err := os.MkdirTemp(parent, folderPrefix)
		if err != nil {
			return nil, err
		}
		unlock, err := tryLock(filepath.Join(dir, folderLock))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if unlock != nil && present(dir) {
			return &processFolder{dir, unlock}, nil
		}
		// Another process swept it before it was locked.
	}
}

// sweep removes the folders of processes that have ended.
func sweep(parent string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, folderPrefix+"*"))
	for _, dir := range dirs {
		unlock, err := tryLock(filepath.Join(dir, folderLock))
		if err != nil || unlock == nil {
			continue // in use, or owned by somebody else
		}
		_ = os.RemoveAll(dir)
		unlock()
	}
}
