package config

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/go-os/go-os/control/config/driver"
)

// lastGoodName is the name under which Status tells that the file of Options.LastGood is bad.
const lastGoodName = "last good file"

// remembered is what a source held when it was last good.
type remembered struct {
	trees []tree
	time  time.Time
}

// savedFile is the last-good file.
type savedFile struct {
	Saved   time.Time                    `json:"saved"`
	Sources map[string][]driver.Document `json:"sources"`
}

// recall reads the last-good file. One that is not there is no problem; one that is bad is reported, and does not count.
func (c *Config[T]) recall() map[string]remembered {
	if c.opts.LastGood == "" {
		return nil
	}
	data, err := os.ReadFile(c.opts.LastGood)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var file savedFile
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	all := map[string]remembered{}
	for name, docs := range file.Sources {
		was := remembered{time: file.Saved}
		for _, d := range docs {
			t, parsing := parse(d)
			err = errors.Join(err, parsing)
			was.trees = append(was.trees, t)
		}
		all[name] = was
	}
	if err != nil {
		c.lastGoodFailed(context.Background(), fmt.Errorf("%w: cannot be used: %w", ErrInvalid, withoutText(err)))
		return nil
	}
	return all
}

// withoutText keeps the contents of a broken file out of the error.
func withoutText(err error) error {
	var syntax *json.SyntaxError
	var misfit *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("no JSON at byte %d", syntax.Offset)
	case errors.As(err, &misfit):
		return fmt.Errorf("not of the right form at byte %d", misfit.Offset)
	}
	return err
}

func (c *Config[T]) lastGoodFailed(ctx context.Context, err error) {
	p := newProblem(lastGoodName, &Error{Document: c.opts.LastGood, Err: err}, false)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trouble(ctx, p)
}

// save has the next deliver write the last-good file. c.mu is held.
func (c *Config[T]) save(ctx context.Context) {
	if c.opts.LastGood == "" {
		return
	}
	file := &savedFile{Saved: time.Now(), Sources: map[string][]driver.Document{}}
	for _, s := range c.states {
		if s.static || !s.inForce {
			continue
		}
		docs := []driver.Document{}
		for _, t := range s.accepted {
			docs = append(docs, driver.Document{Name: t.name, Version: t.version, Format: t.format, Data: t.digest, Tree: t.tree()})
		}
		file.Sources[s.name] = docs
	}
	c.unsaved = file
	c.writes.add(func() { c.write(ctx) })
}

// write writes the newest last-good file, unless an earlier call has.
func (c *Config[T]) write(ctx context.Context) {
	c.mu.Lock()
	file := c.unsaved
	c.unsaved = nil
	c.mu.Unlock()
	if file == nil {
		return
	}
	data, err := json.Marshal(file)
	if err == nil {
		err = writeAtomically(c.opts.LastGood, data, 0o600)
	}
	if err != nil {
		c.lastGoodFailed(ctx, fmt.Errorf("could not be written: %w", err))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.relief(ctx, lastGoodName)
}

// tree returns the values of a document without text.
func (t tree) tree() map[string]any {
	if t.digest != nil {
		return nil
	}
	return t.values
}

// writeAtomically replaces a file as a whole: who reads it sees the old text or the new one, also after a crash.
func writeAtomically(name string, data []byte, mode fs.FileMode) (err error) {
	temp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp.Name()))
		}
	}()
	_, err = temp.Write(data)
	err = errors.Join(err, temp.Chmod(mode), temp.Sync(), temp.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

// syncDir makes the new name last. Where folders cannot be synced, it is as lasting as the system makes it.
func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	_ = dir.Sync()
	return dir.Close()
}
