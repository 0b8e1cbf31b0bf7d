package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/control/config/internal/document"
	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/safefile"
)

// The formats of documents.
const (
	YAML = document.YAML
	JSON = document.JSON
	TOML = document.TOML
)

// The defaults of FileOptions. DefaultMaxSize, in bytes, is also the default of other sources.
const (
	DefaultMaxSize = 1 << 20
	DefaultSettle  = 50 * time.Millisecond
	DefaultPoll    = 5 * time.Second
)

// FileOptions configure File.
type FileOptions struct {
	// Format of the file: YAML, JSON or TOML. Default: by the extension .yaml, .yml, .json or .toml.
	Format string
	// Optional makes a missing file a configuration without keys, at start-up and when it is deleted. Default: a missing file is a problem,
	// and its last contents stay in force.
	Optional bool
	// MaxSize is the largest accepted file, in bytes. Default: DefaultMaxSize.
	MaxSize int64
	// Settle is how long a file must stay unchanged before it is read. If a writer pauses for longer in the middle of a file, the part
	// written so far is read, and checked like any other change. Writers avoid that by renaming a complete file over the old one. Default:
	// DefaultSettle.
	Settle time.Duration
	// Poll is the interval at which the file is checked, in case the system does not report changes, as on network file systems. Default:
	// DefaultPoll.
	Poll time.Duration
}

// File returns a source that reads a file. It notices every way to write a file: in place, by renaming another file over it, by swapping a
// link in its path as Kubernetes does for ConfigMaps, by deleting and creating it. It ignores other files of the folder, such as temporary
// files of editors. Load returns ErrInvalid if the path is empty, if the format is none of the three, or if an option is negative.
func File(path string, opts *FileOptions) Source {
	f := &fileSource{path: path}
	f.opts, f.invalid = opts.withDefaults()
	if f.opts.Format == "" {
		f.opts.Format = document.FormatOf(path)
	}
	f.badFormat = document.CheckFormat(f.opts.Format, "set FileOptions.Format")
	if path == "" {
		f.invalid = errors.Join(fmt.Errorf("%w: the path of File is empty: name a file, or leave the source out", driver.ErrInvalid), f.invalid)
	}
	return f
}

// withDefaults returns the options with defaults in place of zeros, or ErrInvalid if one of them is negative.
func (o *FileOptions) withDefaults() (FileOptions, error) {
	out := defaults.Copy(o)
	err := errors.Join(
		defaults.Fill("config.FileOptions.MaxSize", &out.MaxSize, DefaultMaxSize),
		defaults.Fill("config.FileOptions.Settle", &out.Settle, DefaultSettle),
		defaults.Fill("config.FileOptions.Poll", &out.Poll, DefaultPoll),
	)
	return out, err
}

type fileSource struct {
	path      string
	opts      FileOptions
	invalid   error // why the source can never work
	badFormat error // the same, for the format; Parse reports it if the file can be read
}

func (f *fileSource) Name() string { return strings.TrimSpace("file " + f.path) }

// Read returns a consistent copy of the file: it reads again if the file changes during the read. It returns ErrInvalid if the path is not
// a regular file. Reading a named pipe, for example, could block for ever, and would find nothing the next time.
func (f *fileSource) Read(ctx context.Context) ([]driver.Document, error) {
	if f.invalid != nil {
		return nil, f.invalid
	}
	for {
		before, err := os.Stat(f.path)
		if err != nil {
			return nil, f.readError(err)
		}
		data, err := f.readAll()
		if err != nil {
			return nil, f.readError(err)
		}
		after, err := os.Stat(f.path)
		if err == nil && os.SameFile(before, after) && before.Size() == after.Size() && before.ModTime().Equal(after.ModTime()) {
			return []driver.Document{{Name: f.path, Format: f.opts.Format, Data: data}}, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: changes during each read: %w", driver.ErrUnavailable, ctx.Err())
		case <-time.After(f.opts.Settle):
		}
	}
}

func (f *fileSource) readAll() ([]byte, error) {
	file, err := safefile.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return readLimited(file, f.opts.MaxSize)
}

// readLimited reads to the end. The result is never nil.
func readLimited(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, max(limit, limit+1))) // the sum overflows if there is no limit
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%w: over the limit of %s: raise the option MaxSize", driver.ErrTooLarge, Size(limit))
	}
	return append([]byte{}, data...), nil
}

// readError returns the error for a file that cannot be read, nil if the file is optional and missing. It includes an unknown format, which
// would otherwise be reported much later.
func (f *fileSource) readError(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		if f.opts.Optional {
			return f.badFormat
		}
		err = fmt.Errorf("%w: %w", driver.ErrNotFound, err)
	}
	if f.badFormat != nil {
		return fmt.Errorf("%w; %w", f.badFormat, err)
	}
	return err
}

// Watch watches the folder rather than the file, which may be replaced.
func (f *fileSource) Watch(ctx context.Context, changed func(error)) error {
	if f.invalid != nil {
		return f.invalid
	}
	w := &fileWatch{fileSource: f, seen: f.stamp()}
	if notifier, err := fsnotify.NewWatcher(); err == nil { // otherwise there is only the poll
		defer func() { _ = notifier.Close() }()
		w.notifier = notifier
	}
	w.follow()
	changed(nil)
	return w.run(ctx, changed)
}

// stamp identifies a state of a file.
type stamp struct {
	real string // the path behind all links
	info os.FileInfo
}

func (f *fileSource) stamp() (s stamp) {
	s.real, _ = filepath.EvalSymlinks(f.path)
	s.info, _ = os.Stat(f.path)
	return s
}

func (s stamp) equal(o stamp) bool {
	switch {
	case s.real != o.real, (s.info == nil) != (o.info == nil):
		return false
	case s.info == nil:
		return true
	}
	return os.SameFile(s.info, o.info) && s.info.Size() == o.info.Size() && s.info.ModTime().Equal(o.info.ModTime())
}

// fileWatch is one Watch of a file.
type fileWatch struct {
	*fileSource
	notifier *fsnotify.Watcher // nil if the system has no watch left
	seen     stamp
	folders  map[string]os.FileInfo // watched folders
}

// follow watches the folder of the file, and the folder of the file behind a link.
func (w *fileWatch) follow() {
	if w.notifier == nil {
		return
	}
	wanted := map[string]os.FileInfo{}
	for _, name := range []string{w.path, w.seen.real} {
		dir := filepath.Dir(name)
		if info, err := os.Stat(dir); err == nil && name != "" {
			wanted[dir] = info
		}
	}
	for dir, was := range w.folders {
		if now, ok := wanted[dir]; !ok || !os.SameFile(was, now) {
			_ = w.notifier.Remove(dir) // the system has already removed the watch of a deleted folder
			delete(w.folders, dir)
		}
	}
	if w.folders == nil {
		w.folders = map[string]os.FileInfo{}
	}
	for dir, info := range wanted {
		if w.folders[dir] == nil && w.notifier.Add(dir) == nil {
			w.folders[dir] = info
		}
	}
}

// run calls changed after the file has changed and then stayed unchanged for Settle.
func (w *fileWatch) run(ctx context.Context, changed func(error)) error {
	const longest = 20 // the longest wait, as a multiple of Settle, for a file that changes all the time
	poll := time.NewTicker(w.opts.Poll)
	defer poll.Stop()
	settled := time.NewTimer(0)
	<-settled.C
	defer settled.Stop()
	var since time.Time
	touch := func() {
		if since.IsZero() {
			since = time.Now()
		}
		settled.Reset(max(0, min(w.opts.Settle, longest*w.opts.Settle-time.Since(since))))
	}
	events, failures := w.channels()
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-events:
			if moved := w.moved(); moved || w.concerns(event) {
				touch()
			}
		case <-failures: // events were lost
			touch()
		case <-poll.C:
			if w.moved() {
				touch()
			}
			w.follow()
		case <-settled.C:
			since = time.Time{}
			w.follow()
			changed(nil)
		}
	}
}

func (w *fileWatch) channels() (<-chan fsnotify.Event, <-chan error) {
	if w.notifier == nil {
		return nil, nil
	}
	return w.notifier.Events, w.notifier.Errors
}

// concerns reports whether an event names the file. The stamp does not suffice: two writes within one tick of the file system's clock have
// the same stamp.
func (w *fileWatch) concerns(event fsnotify.Event) bool {
	if event.Op == fsnotify.Chmod {
		return false
	}
	name := filepath.Clean(event.Name)
	return name == filepath.Clean(w.path) || name == w.seen.real
}

// moved reports whether the stamp of the file has changed.
func (w *fileWatch) moved() bool {
	now := w.stamp()
	if now.equal(w.seen) {
		return false
	}
	w.seen = now
	return true
}
