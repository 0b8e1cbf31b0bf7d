package config_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/internal/tooling/configtesting"
	"github.com/go-os/go-os/telemetry"
)

func put(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// writers are the ways in which editors and programs write files.
var writers = map[string]func(t testing.TB, path, text string){
	"in place": put,
	"in pieces": func(t testing.TB, path, text string) {
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
		must(t, err)
		for i := 0; i < len(text); i += 3 {
			_, err := file.WriteString(text[i:min(i+3, len(text))])
			must(t, err)
			timer := time.NewTimer(5 * time.Millisecond)
			<-timer.C
		}
		must(t, file.Close())
	},
	"by rename": func(t testing.TB, path, text string) {
		put(t, path+".tmp", text)
		must(t, os.Rename(path+".tmp", path))
	},
	"as vim does": func(t testing.TB, path, text string) {
		dir := filepath.Dir(path)
		put(t, filepath.Join(dir, "4913"), "")
		must(t, os.Remove(filepath.Join(dir, "4913")), os.Rename(path, path+"~"))
		put(t, path, text)
		must(t, os.Remove(path+"~"))
	},
	"as emacs does": func(t testing.TB, path, text string) {
		dir, base := filepath.Split(path)
		must(t, os.Symlink("nobody@nowhere", dir+".#"+base))
		put(t, dir+"#"+base+"#", "half of it")
		must(t, os.Rename(path, path+"~"))
		put(t, path, text)
		must(t, os.Remove(dir+".#"+base), os.Remove(dir+"#"+base+"#"))
	},
	"deleted and made again": func(t testing.TB, path, text string) {
		must(t, os.Remove(path))
		timer := time.NewTimer(100 * time.Millisecond)
		<-timer.C
		put(t, path, text)
	},
	"with the folder": func(t testing.TB, path, text string) {
		dir := filepath.Dir(path)
		must(t, os.Rename(dir, dir+".old"), os.Mkdir(dir, 0o700))
		put(t, path, text)
		must(t, os.RemoveAll(dir+".old"))
	},
	"without a trace in its time and length": func(t testing.TB, path, text string) {
		before, err := os.Stat(path)
		must(t, err)
		put(t, path, text)
		must(t, os.Chtimes(path, before.ModTime(), before.ModTime()))
	},
}

// TestFileWriters follows a file through several changes, for each way of writing it.
func TestFileWriters(t *testing.T) {
	for name, write := range writers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			settle, last := config.DefaultSettle, 9
			if name == "in pieces" { // a busy machine may delay the writer between two pieces
				settle, last = 500*time.Millisecond, 3
			}
			dir := filepath.Join(t.TempDir(), "config")
			must(t, os.Mkdir(dir, 0o700))
			path := filepath.Join(dir, "orders.yaml")
			put(t, path, "retries: 0\nname: n0\n")
			cfg := load(t, config.File(path, &config.FileOptions{Poll: 500 * time.Millisecond, Settle: settle}))
			var halves atomic.Int64
			_, err := cfg.OnChange("", func(_, now *service) {
				if now.Name != fmt.Sprintf("n%d", now.Retries) {
					halves.Add(1)
				}
			})
			must(t, err)
			configtesting.Follow(t, cfg)
			for n := 1; n <= last; n++ {
				write(t, path, fmt.Sprintf("retries: %d\nname: n%d\n", n, n))
				took := configtesting.Eventually(t, fmt.Sprintf("retries %d", n), func() bool { return cfg.Get().Retries == n })
				if n == last {
					t.Logf("the last change was seen after %v", took.Round(time.Millisecond))
				}
			}
			if halves.Load() > 0 {
				t.Errorf("%d half-written files were applied", halves.Load())
			}
			configtesting.Eventually(t, "no problem left", func() bool { return cfg.Err() == nil })
		})
	}
}

// TestConfigMap swaps the link in the path of a file, as Kubernetes does for a ConfigMap.
func TestConfigMap(t *testing.T) {
	dir := t.TempDir()
	swap := func(n int) {
		version := filepath.Join(dir, fmt.Sprintf("..v%d", n))
		must(t, os.Mkdir(version, 0o700))
		put(t, filepath.Join(version, "orders.yaml"), fmt.Sprintf("retries: %d\n", n))
		must(t, os.Symlink(filepath.Base(version), filepath.Join(dir, "..data_tmp")), os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
		if n > 1 {
			must(t, os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..v%d", n-1))))
		}
	}
	swap(1)
	path := filepath.Join(dir, "orders.yaml")
	must(t, os.Symlink(filepath.Join("..data", "orders.yaml"), path))
	cfg := load(t, config.File(path, &config.FileOptions{Poll: time.Hour})) // only notifications
	configtesting.Follow(t, cfg)
	for n := 2; n <= 10; n++ {
		swap(n)
		configtesting.Eventually(t, fmt.Sprintf("version %d", n), func() bool { return cfg.Get().Retries == n })
	}
}

// TestLinkedFile edits a file behind a link from another folder.
func TestLinkedFile(t *testing.T) {
	real := write(t, "real.yaml", "retries: 1\n")
	path := filepath.Join(t.TempDir(), "orders.yaml")
	must(t, os.Symlink(real, path))
	cfg := load(t, config.File(path, &config.FileOptions{Poll: time.Hour}))
	configtesting.Follow(t, cfg)
	for n := 2; n <= 5; n++ {
		put(t, real, fmt.Sprintf("retries: %d\n", n))
		configtesting.Eventually(t, "the change", func() bool { return cfg.Get().Retries == n })
	}
	other := write(t, "other.yaml", "retries: 9\n")
	must(t, os.Remove(path), os.Symlink(other, path))
	configtesting.Eventually(t, "the other file", func() bool { return cfg.Get().Retries == 9 })
	put(t, other, "retries: 10\n")
	configtesting.Eventually(t, "the change of the other file", func() bool { return cfg.Get().Retries == 10 })
}

// counted counts the reads of a source.
type counted struct {
	driver.Watcher
	reads atomic.Int64
}

func (c *counted) Read(ctx context.Context) ([]driver.Document, error) {
	c.reads.Add(1)
	return c.Watcher.Read(ctx)
}

// TestFileNeighbours: changes of other files in the folder cause no read.
func TestFileNeighbours(t *testing.T) {
	path := write(t, "orders.yaml", "retries: 1\n")
	source := &counted{Watcher: config.File(path, nil).(driver.Watcher)}
	cfg := load(t, source)
	configtesting.Follow(t, cfg)
	configtesting.Eventually(t, "the first read of Run", func() bool { return source.reads.Load() == 2 })
	for n := range 50 {
		for _, name := range []string{"orders.yaml~", ".orders.yaml.swp", "#orders.yaml#", "other.yaml", "orders.yaml.tmp"} {
			put(t, filepath.Join(filepath.Dir(path), name), fmt.Sprintf("retries: %d\n", n))
		}
	}
	put(t, path, "retries: 2\n")
	configtesting.Eventually(t, "the change", func() bool { return cfg.Get().Retries == 2 })
	if n := source.reads.Load(); n > 6 {
		t.Errorf("the file was read %d times", n)
	}
}

// TestFileGone deletes an optional file and a required one.
func TestFileGone(t *testing.T) {
	needed, optional := write(t, "needed.yaml", "retries: 1\n"), write(t, "optional.yaml", "name: x\n")
	cfg := load(t, config.File(needed, nil), config.File(optional, &config.FileOptions{Optional: true}))
	configtesting.Follow(t, cfg)
	must(t, os.Remove(optional))
	configtesting.Eventually(t, "the values of the optional file are gone", func() bool { return cfg.Get().Name == "orders" })
	must(t, os.Remove(needed))
	configtesting.Eventually(t, "a problem", func() bool { return errors.Is(cfg.Err(), config.ErrNotFound) })
	if cfg.Get().Retries != 1 {
		t.Error("the values of a deleted file are gone")
	}
	put(t, optional, "name: y\n")
	configtesting.Eventually(t, "the optional file is back", func() bool { return cfg.Get().Name == "y" })
	put(t, needed, "retries: 2\n")
	configtesting.Eventually(t, "the needed file is back", func() bool { return cfg.Get().Retries == 2 && cfg.Err() == nil })
}

// TestFileLimits: a file that is too large, missing or not regular is an error.
func TestFileLimits(t *testing.T) {
	path := write(t, "orders.yaml", "name: "+strings.Repeat("x", 100)+"\n")
	for name, test := range map[string]struct {
		source config.Source
		want   error
	}{
		"too large": {config.File(path, &config.FileOptions{MaxSize: 100}), config.ErrTooLarge},
		"missing":   {config.File(path+".no", nil), config.ErrNotFound},
		"format":    {config.File(write(t, "orders.conf", "{}"), nil), config.ErrInvalid},
	} {
		_, err := config.Load[service](t.Context(), options(config.Required(test.source)))
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if cfg := load(t, config.File(write(t, "small.yaml", "retries: 4\n"), &config.FileOptions{MaxSize: math.MaxInt64})); cfg.Get().Retries != 4 {
		t.Error("the largest limit lets nothing through")
	}
	if _, err := config.Load[service](t.Context(), options(config.Required(config.File(t.TempDir(), &config.FileOptions{Format: config.YAML})))); err == nil {
		t.Error("a folder is accepted as a file")
	}
}

// TestFilePoll follows a file by polling alone, since its folder does not exist at first.
func TestFilePoll(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	path := filepath.Join(dir, "orders.yaml")
	cfg, err := config.Load[service](t.Context(), &config.Options{Telemetry: telemetry.Off(), Backoff: time.Hour, MaxBackoff: time.Hour,
		Sources: []config.Source{config.File(path, &config.FileOptions{Poll: 20 * time.Millisecond})}})
	must(t, err)
	configtesting.Follow(t, cfg)
	must(t, os.Mkdir(dir, 0o700))
	put(t, path, "retries: 5\n")
	configtesting.Eventually(t, "the file", func() bool { return cfg.Get().Retries == 5 })
	put(t, path, "retries: 6\n")
	configtesting.Eventually(t, "the change", func() bool { return cfg.Get().Retries == 6 })
}
