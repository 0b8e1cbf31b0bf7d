package boltkv

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/go-os/go-os/state/kv/driver"
)

// guarded runs code that uses a bbolt file. bbolt panics on invalid pages, and maps its file into memory, where reading beyond the end of a
// truncated file is a fault. Both become errors that name the file.
func guarded(path string, use func() error) (err error) {
	before := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(before)
	defer func() {
		if cause := recover(); cause != nil {
			err = damaged(path, fmt.Sprint(cause))
		}
	}()
	return use()
}

// errRecord is the error of a record that this package has not written.
var errRecord = errors.New("a record is cut short")

// located adds the name of the file to the error of a record.
func located(path string, err error) error {
	if errors.Is(err, errRecord) {
		return damaged(path, err.Error())
	}
	return err
}

// damaged returns the error of a file with invalid content.
func damaged(path, cause string) error {
	return fmt.Errorf("%w: %s is damaged: %s: restore it from a backup, or move it away to start with an empty file", driver.ErrUnavailable, path, cause)
}

// openFile opens a bbolt file. If that fails, the file is closed and unlocked.
func openFile(path string, lockTimeout time.Duration) (db *bbolt.DB, err error) {
	const ownerOnly = os.FileMode(0o600)
	var file *os.File // bbolt's own, which it leaves open when it panics
	opts := &bbolt.Options{Timeout: lockTimeout, OpenFile: func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
		file, err = os.OpenFile(name, flag, mode)
		return file, err
	}}
	err = guarded(path, func() (err error) {
		if db, err = bbolt.Open(path, ownerOnly, opts); err != nil {
			return explainOpen(path, err)
		}
		return checkSize(db)
	})
	switch {
	case err == nil:
		return db, nil
	case db != nil:
		err = errors.Join(err, db.Close())
	case file != nil: // closed already, unless bbolt has panicked
		unlock(file)
		_ = file.Close()
	}
	return nil, err
}

// explainOpen adds the remedy to an error of bbolt.Open.
func explainOpen(path string, err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("%s is in use by another process: only one process at a time can open it: %w", path, err)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return fmt.Errorf("%s is not a file of boltkv, or is damaged: %w", path, err)
	default:
		return fmt.Errorf("%s: %w", path, err)
	}
}

// checkSize returns an error if the file ends before its last page.
func checkSize(db *bbolt.DB) error {
	return db.View(func(tx *bbolt.Tx) error {
		info, err := os.Stat(db.Path())
		if err == nil && info.Size() < tx.Size() {
			err = damaged(db.Path(), fmt.Sprintf("it ends after %d of %d bytes", info.Size(), tx.Size()))
		}
		return err
	})
}
