package log

import (
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func openFile(t *testing.T, path string, opts *FileOptions) *File {
	t.Helper()
	f, err := OpenFile(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func write(t *testing.T, f *File, text string) {
	t.Helper()
	if n, err := f.Write([]byte(text)); err != nil || n != len(text) {
		t.Fatalf("wrote %d of %d bytes: %v", n, len(text), err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// rotated returns the files beside the current one.
func rotated(t *testing.T, path string) []string {
	t.Helper()
	all, err := filepath.Glob(strings.TrimSuffix(path, ".log") + "-*")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "app.log")
	f := openFile(t, path, nil)
	New(nil, JSON(f, nil)).Info("hello")
	if got := line(t, read(t, path)); got["msg"] != "hello" {
		t.Errorf("the file has %v", got)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode is %v (%v), want 0600", info.Mode(), err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	openFile(t, path, nil)
	again := openFile(t, path, nil)
	write(t, again, "{}\n")
	if n := len(lines(t, read(t, path))); n != 2 {
		t.Errorf("%d lines after opening anew, want 2", n)
	}
}

func TestFileRotatesBySize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	row := strings.Repeat("x", 300<<10)
	synctest.Test(t, func(t *testing.T) {
		f := openFile(t, path, &FileOptions{MaxMegabytes: 1, KeepFiles: 2, Mode: 0o640})
		for range 13 {
			write(t, f, row) // three fit in a file
			time.Sleep(time.Second)
		}
		if got := len(read(t, path)); got != 1*len(row) {
			t.Errorf("the current file has %d bytes, want %d", got, len(row))
		}
		if err := f.Close(); err != nil { // waits for the removal of old files
			t.Fatal(err)
		}
	})
	old := rotated(t, path)
	if len(old) != 2 {
		t.Errorf("rotated files are %q, want 2", old)
	}
	for _, name := range append(old, path) {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if name != path && info.Size() != 3*int64(len(row)) {
			t.Errorf("%s has %d bytes, want %d", name, info.Size(), 3*len(row))
		}
		if info.Mode() != 0o640 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	huge := openFile(t, path, &FileOptions{MaxMegabytes: 1})
	if _, err := huge.Write(make([]byte, 2<<20)); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a write larger than a file returned %v", err)
	}
}

func TestFileRotatesByAge(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, "app.log")
		f, err := OpenFile(path, &FileOptions{RotateEvery: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		write(t, f, "first\n")
		time.Sleep(time.Hour - 1)
		write(t, f, "second\n")
		if old := rotated(t, path); len(old) != 0 {
			t.Errorf("rotated too early: %q", old)
		}
		time.Sleep(time.Nanosecond)
		write(t, f, "third\n")
		if old := rotated(t, path); len(old) != 1 || read(t, old[0]) != "first\nsecond\n" || read(t, path) != "third\n" {
			t.Errorf("after an hour: %q, current %q", old, read(t, path))
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestFileThatIsOldWhenOpened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	if err := os.WriteFile(path, []byte("old\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	f := openFile(t, path, &FileOptions{RotateEvery: time.Hour})
	if old := rotated(t, path); len(old) != 0 {
		t.Errorf("a file that is new was rotated: %q", old)
	}
	if err := errors.Join(f.Close(), os.Chtimes(path, time.Time{}, time.Now().Add(-2*time.Hour))); err != nil {
		t.Fatal(err)
	}
	f = openFile(t, path, &FileOptions{RotateEvery: time.Hour})
	write(t, f, "new\n")
	if old := rotated(t, path); len(old) != 1 || read(t, old[0]) != "old\n" || read(t, path) != "new\n" {
		t.Errorf("rotated files are %q, current %q", old, read(t, path))
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the new file has mode %v (%v), want 0600 and not that of the old one", info.Mode(), err)
	}
}

func TestFileCompresses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	f := openFile(t, path, &FileOptions{Compress: true})
	write(t, f, "hello\n")
	if err := f.Rotate(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil { // waits for the compression
		t.Fatal(err)
	}
	old := rotated(t, path)
	if len(old) != 1 || !strings.HasSuffix(old[0], "-manual.log.gz") {
		t.Fatalf("rotated files are %q", old)
	}
	file, err := os.Open(old[0])
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(z); err != nil || string(text) != "hello\n" {
		t.Errorf("the rotated file has %q (%v)", text, err)
	}
}

func TestFileReopens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	f := openFile(t, path, nil)
	write(t, f, "one\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write(t, f, "two\n")
	if err := f.Reopen(); err != nil {
		t.Fatal(err)
	}
	write(t, f, "three\n")
	if moved, now := read(t, path+".1"), read(t, path); moved != "one\ntwo\n" || now != "three\n" {
		t.Errorf("moved file %q, current %q", moved, now)
	}
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := f.Reopen(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("Reopen of a directory returned %v", err)
	}
	if err := errors.Join(os.Remove(path), f.Reopen()); err != nil {
		t.Fatal(err)
	}
	write(t, f, "four\n")
	if now := read(t, path); now != "four\n" {
		t.Errorf("after recovery the file has %q", now)
	}
}

func TestFileRefuses(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		opts *FileOptions
		says string
	}{
		{"", nil, "the path is empty"},
		{dir, nil, "not a regular file"},
		{filepath.Join(plain, "x"), nil, "make the directory"},
		{plain, &FileOptions{MaxMegabytes: -1}, "MaxMegabytes"},
		{plain, &FileOptions{RotateEvery: -1}, "RotateEvery"},
		{plain, &FileOptions{KeepFiles: -1}, "KeepFiles"},
		{plain, &FileOptions{KeepDays: -1}, "KeepDays"},
		{plain, &FileOptions{Mode: 0o400}, "Mode"},
		{plain, &FileOptions{Mode: fs.ModeDir | 0o700}, "Mode"},
	} {
		f, err := OpenFile(c.path, c.opts)
		if f != nil || err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.path) {
			t.Errorf("OpenFile(%q, %+v) returned %v, want %q", c.path, c.opts, err, c.says)
		}
	}
}

func TestClosedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	f := openFile(t, path, nil)
	if err := errors.Join(f.Close(), f.Close()); err != nil {
		t.Error(err)
	}
	_, err := f.Write([]byte("x"))
	for verb, err := range map[string]error{"write to": err, "rotate": f.Rotate(), "reopen": f.Reopen()} {
		if !errors.Is(err, os.ErrClosed) || !strings.Contains(err.Error(), verb) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s after Close: %v", verb, err)
		}
	}
	if read(t, path) != "" {
		t.Error("a closed file was written")
	}
	var reported error
	New(&Options{ErrorHandler: func(err error) { reported = err }}, Text(f, nil)).Log(t.Context(), slog.LevelError, "x")
	if !errors.Is(reported, os.ErrClosed) {
		t.Errorf("the error handler got %v", reported)
	}
}
