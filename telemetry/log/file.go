package log

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/DeRuina/timberjack"

	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/option"
)

// FileOptions configure OpenFile. Nil and the zero value work.
type FileOptions struct {
	// MaxMegabytes is the maximum size of the file in MiB; a write that would exceed it rotates the file first. Zero means 100. A
	// single write that is larger is refused.
	MaxMegabytes int
	// RotateEvery rotates the file at the next write once it has been open for that long. A file whose last write is that old at
	// OpenFile is rotated at once. Zero means rotation by size alone.
	RotateEvery time.Duration
	// KeepFiles is the number of rotated files to keep. Zero means all. Files that were rotated within the same millisecond count as
	// one.
	KeepFiles int
	// KeepDays is the age, in days of 24 hours, beyond which rotated files are removed. Zero means never.
	KeepDays int
	// Compress gzips rotated files, in the background.
	Compress bool
	// Mode is the mode of new files. Zero means 0600: logs often hold personal data.
	Mode fs.FileMode
}

// File is a log file that rotates. The file at the path is always the current one; rotated files are beside it as NAME-TIME-REASON.EXT,
// with the time in UTC. It is an io.WriteCloser, for example for JSON(file, nil), and safe for concurrent use. Only one process may
// write to a path. Package timberjack rotates it.
//
// If the path is a symbolic link, its target is written and rotated, in the target's directory; the link stays. A change of the link
// takes effect at the next Reopen.
//
// On a full disk, part of a line may reach the file. That write fails, and the next write starts a new line.
type File struct {
	path string
	opts FileOptions

	mu     sync.Mutex
	target string // path, or what it leads to
	out    *timberjack.Logger
	lines  lineWriter // of out
	closed bool
}

// OpenFile opens the file, or creates it and its parent directories. An error names the path and the cause, so that the first write
// does not fail for it. Invalid options are ErrInvalid.
func OpenFile(path string, opts *FileOptions) (*File, error) {
	f := &File{path: path, opts: defaults.Copy(opts)}
	f.opts.Mode = cmp.Or(f.opts.Mode, 0o600)
	if err := f.check(); err != nil {
		return nil, err
	}
	lastWritten, err := f.touch()
	if err != nil {
		return nil, err
	}
	f.begin()
	if f.opts.RotateEvery > 0 && !lastWritten.IsZero() && time.Since(lastWritten) >= f.opts.RotateEvery {
		if err := f.out.RotateWithReason("time"); err != nil {
			return nil, errors.Join(fmt.Errorf("log: rotate file %q, last written %v: %w", path, lastWritten.UTC(), err), f.out.Close())
		}
	}
	return f, nil
}

func (f *File) check() error {
	if f.path == "" {
		return fmt.Errorf("log: open file: %w: the path is empty", ErrInvalid)
	}
	o := f.opts
	err := option.Check("log.FileOptions",
		option.Of("MaxMegabytes", o.MaxMegabytes), option.Of("RotateEvery", o.RotateEvery),
		option.Of("KeepFiles", o.KeepFiles), option.Of("KeepDays", o.KeepDays))
	if o.Mode&^fs.ModePerm != 0 || o.Mode&0o200 == 0 {
		err = errors.Join(err, fmt.Errorf("log.FileOptions.Mode: %w: %#o is not a mode that lets the owner write, such as 0o600", ErrInvalid, uint32(o.Mode)))
	}
	if err != nil {
		return fmt.Errorf("log: open file %q: %w", f.path, err)
	}
	return nil
}

// touch checks that the path is writable. It returns the modification time, or zero if the file is empty.
func (f *File) touch() (lastWritten time.Time, err error) {
	if f.target, err = followLinks(f.path); err != nil {
		return time.Time{}, fmt.Errorf("log: open file %q: %w", f.path, err)
	}
	if err := os.MkdirAll(filepath.Dir(f.target), 0o750); err != nil {
		return time.Time{}, fmt.Errorf("log: make the directory of file %q: %w", f.target, err)
	}
	// Stat first: opening a pipe without a reader would block.
	if info, err := os.Stat(f.target); err == nil && !info.Mode().IsRegular() {
		return time.Time{}, fmt.Errorf("log: open file %q: it is not a regular file (%v), and cannot be rotated; give Text or JSON the opened device itself",
			f.path, info.Mode().Type())
	}
	file, err := os.OpenFile(f.target, os.O_CREATE|os.O_APPEND|os.O_WRONLY, f.opts.Mode)
	if err != nil {
		return time.Time{}, fmt.Errorf("log: open file %q for appending: %w", f.path, err)
	}
	info, err := file.Stat()
	if err = errors.Join(err, file.Close()); err != nil {
		return time.Time{}, fmt.Errorf("log: open file %q for appending: %w", f.path, err)
	}
	if info.Size() > 0 {
		lastWritten = info.ModTime()
	}
	return lastWritten, nil
}

// maxLinks is the maximum number of symbolic links to follow, as in Linux.
const maxLinks = 40

// followLinks returns the target of a path, which need not exist.
func followLinks(path string) (string, error) {
	for range maxLinks {
		info, err := os.Lstat(path)
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			return path, nil // opening it reports the error
		}
		next, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(next) {
			next = filepath.Join(filepath.Dir(path), next)
		}
		path = next
	}
	return "", errors.New("too many symbolic links")
}

// begin directs later writes to the target.
func (f *File) begin() {
	f.out = f.logger()
	f.lines = lineWriter{w: f.out}
}

func (f *File) logger() *timberjack.Logger {
	compression := "none"
	if f.opts.Compress {
		compression = "gzip"
	}
	return &timberjack.Logger{
		Filename:         f.target,
		MaxSize:          f.opts.MaxMegabytes,
		MaxBackups:       f.opts.KeepFiles,
		MaxAge:           f.opts.KeepDays,
		RotationInterval: f.opts.RotateEvery,
		Compression:      compression,
		FileMode:         f.opts.Mode,
	}
}

// Write appends p, after a rotation if one is due. It fails with os.ErrClosed after Close.
func (f *File) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return 0, f.closedError("write to")
	}
	n, err := f.lines.Write(p)
	if err != nil {
		err = fmt.Errorf("log: write to file %q: %w", f.path, err)
	}
	return n, err
}

// Rotate rotates the file now. It fails with os.ErrClosed after Close.
func (f *File) Rotate() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return f.closedError("rotate")
	}
	if err := f.out.RotateWithReason("manual"); err != nil {
		return fmt.Errorf("log: rotate file %q: %w", f.path, err)
	}
	return nil
}

// Reopen reopens the path after another program, such as logrotate, has moved the file; until then, writes go to the moved file. Call
// it on SIGHUP. logrotate's copytruncate does not work with a File. It fails with os.ErrClosed after Close; on any other error, the
// next write retries.
func (f *File) Reopen() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return f.closedError("reopen")
	}
	err := f.out.Close()
	if _, touchErr := f.touch(); touchErr != nil {
		err = errors.Join(err, touchErr)
	}
	f.begin()
	if err != nil {
		return fmt.Errorf("log: reopen file %q: %w", f.path, err)
	}
	return nil
}

// Close closes the file, and waits for a compression in progress. Later calls do nothing.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	if err := f.out.Close(); err != nil {
		return fmt.Errorf("log: close file %q: %w", f.path, err)
	}
	return nil
}

func (f *File) closedError(verb string) error {
	return fmt.Errorf("log: %s file %q: %w", verb, f.path, os.ErrClosed)
}
