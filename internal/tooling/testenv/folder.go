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
	// enoughMemory is how much must be free for an engine's files to be kept in memory. An etcd alone reserves 128 MB for its log.
	enoughMemory = 4 << 30
	// folderPrefix begins the names of the folders that test processes have in memory.
	folderPrefix = "go-os-test-"
	// folderLock is the file in such a folder that its process holds locked.
	folderLock = "lock"
)

// newFolder returns an empty folder for the files of an engine, which is removed when the test ends. Under Run it is in memory, on Linux, if
// there is enough: engines sync their files with every write, and no test needs files that outlive the machine.
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

// processFolder is a folder of one process, which others sweep when the process has ended.
type processFolder struct {
	path   string
	unlock func() // called by tests only; it keeps the lock file reachable, whose finalizer would unlock the folder
}

// inMemory is set by Run.
var inMemory atomic.Bool

// ownFolder returns the folder of this test process in memory, or nil where there is none.
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
		return nil // files are on disk then
	}
	return own
})

// claimFolder makes a folder that nobody sweeps while this process lives.
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
		// Another process has swept it before it was locked.
	}
}

// sweep removes the folders of processes that have ended.
func sweep(parent string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, folderPrefix+"*"))
	for _, dir := range dirs {
		unlock, err := tryLock(filepath.Join(dir, folderLock))
		if err != nil || unlock == nil {
			continue // it is in use, or somebody else's
		}
		_ = os.RemoveAll(dir)
		unlock()
	}
}
