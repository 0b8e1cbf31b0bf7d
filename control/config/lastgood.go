package config

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/control/config/internal/document"
	"github.com/go-os/go-os/internal/safefile"
)

// lastGoodName is the source of problems with the file of Options.LastGood.
const lastGoodName = "last good file"

// maxLastGood is the size limit of the last-good file, in bytes.
const maxLastGood = 64 << 20

// remembered is the last good state of a source.
type remembered struct {
	trees []document.Tree
	time  time.Time
}

// savedFile is the contents of the last-good file.
type savedFile struct {
	Saved   time.Time                  `json:"saved"`
	Sources map[string][]savedDocument `json:"sources"`
}

// savedDocument is a document in the last-good file: its text, or its values if it has no text.
type savedDocument struct {
	Name    string               `json:"name"`
	Version string               `json:"version,omitempty"`
	Format  string               `json:"format,omitempty"`
	Data    []byte               `json:"data,omitempty"`
	Values  *document.SavedValue `json:"values,omitempty"`
}

// document returns the document as the source returned it.
func (d savedDocument) document() (driver.Document, error) {
	out := driver.Document{Name: d.Name, Version: d.Version, Format: d.Format, Data: d.Data}
	if d.Values == nil {
		return out, nil
	}
	values, err := d.Values.Value()
	out.Tree, _ = values.(map[string]any)
	return out, err
}

// recall reads the last-good file within Options.Timeout. A missing file is no problem. A file that is invalid, or that another user may have
// written, is reported and not used.
func (c *core) recall(ctx context.Context) map[string]remembered {
	if c.opts.LastGood == "" {
		return nil
	}
	type result struct {
		sources map[string]remembered
		err     error
	}
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	r, ok := inTime(ctx, c.disk, func() (r result) {
		r.sources, r.err = readLastGood(ctx, c.opts.LastGood)
		return r
	})
	if !ok {
		r.err = fmt.Errorf("%w: reading takes too long: %w", ErrUnavailable, ctx.Err())
	}
	if r.err != nil {
		c.lastGoodFailed(ctx, fmt.Errorf("is not used: %w", r.err))
	}
	return r.sources
}

// readLastGood returns the saved state of each source.
func readLastGood(ctx context.Context, name string) (map[string]remembered, error) {
	data, err := safefile.Read(name, maxLastGood)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var file savedFile
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, withoutText(err))
	}
	all := map[string]remembered{}
	for name, docs := range file.Sources {
		was := remembered{time: file.Saved}
		for _, d := range docs {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			doc, err := d.document()
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
			}
			t, err := document.Parse(doc)
			if err != nil {
				return nil, err
			}
			was.trees = append(was.trees, t)
		}
		all[name] = was
	}
	return all, nil
}

// withoutText returns the error without the contents of a broken file.
func withoutText(err error) error {
	var syntax *json.SyntaxError
	var misfit *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("invalid JSON at byte %d", syntax.Offset)
	case errors.As(err, &misfit):
		return fmt.Errorf("unexpected JSON type at byte %d", misfit.Offset)
	}
	return err
}

func (c *core) lastGoodFailed(ctx context.Context, err error) {
	p := newProblem(lastGoodName, &Error{Document: c.opts.LastGood, Err: err}, false)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addProblem(ctx, p)
}

// save makes the next deliver write the last-good file. The caller holds c.mu.
func (c *core) save(ctx context.Context) {
	if c.opts.LastGood == "" {
		return
	}
	c.unsaved = map[string][]document.Tree{}
	for _, s := range c.states {
		if !s.static && s.inForce {
			c.unsaved[s.name] = s.accepted
		}
	}
	c.writes.add(func() { c.write(ctx) })
}

// write writes the latest state to the last-good file within Options.Timeout, unless an earlier call has.
func (c *core) write(ctx context.Context) {
	c.mu.Lock()
	sources := c.unsaved
	c.unsaved = nil
	c.mu.Unlock()
	if sources == nil {
		return
	}
	limited, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	err, ok := inTime(limited, c.disk, func() error { return writeLastGood(c.opts.LastGood, sources) })
	if !ok {
		err = fmt.Errorf("%w: it takes too long: %w", ErrUnavailable, limited.Err())
	}
	if err != nil {
		c.lastGoodFailed(ctx, fmt.Errorf("could not be written: %w", err))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removeProblem(ctx, lastGoodName)
}

// writeLastGood writes the last-good file. It leaves out sources whose values cannot be saved, and names them in the error.
func writeLastGood(name string, sources map[string][]document.Tree) error {
	file := savedFile{Saved: time.Now(), Sources: map[string][]savedDocument{}}
	var left []error
	for source, trees := range sources {
		docs, err := savedDocuments(trees)
		if err != nil {
			left = append(left, fmt.Errorf("%s is left out: %w", source, err))
			continue
		}
		file.Sources[source] = docs
	}
	data, err := json.Marshal(file)
	if err == nil && len(data) > maxLastGood {
		err = fmt.Errorf("%w: over the limit of %s", ErrTooLarge, Size(maxLastGood))
	}
	if err == nil {
		err = safefile.Write(name, data)
	}
	return errors.Join(append(left, err)...)
}

func savedDocuments(trees []document.Tree) ([]savedDocument, error) {
	docs := []savedDocument{}
	for _, t := range trees {
		d := savedDocument{Name: t.Name, Version: t.Version, Format: t.Format, Data: t.Digest}
		if t.Digest == nil {
			values, err := document.SavedValueOf(t.Values)
			if err != nil {
				return nil, err
			}
			d.Values = &values
		}
		docs = append(docs, d)
	}
	return docs, nil
}
