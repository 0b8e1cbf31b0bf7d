// Package document holds what a configuration is made of, as pure functions: they read documents, merge them, decode them into a type
// of Go and check the value. It keeps no state, does no I/O and emits no telemetry; package config does.
package document

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-os/go-os/control/config/driver"
)

// Tree is a parsed document.
type Tree struct {
	Name    string
	Version string
	Format  string
	content
	lines  func() positions // nil for a document without text
	Digest []byte           // what makes the document this one
}

// Formats that documents are written in.
const (
	YAML = "yaml"
	JSON = "json"
	TOML = "toml"
)

// FormatOf returns the format that a name's ending stands for, or the ending.
func FormatOf(name string) string {
	ending := strings.ToLower(strings.TrimPrefix(filepath.Ext(name), "."))
	if ending == "yml" {
		return YAML
	}
	return ending
}

// content is what a document holds.
type content struct {
	Values  map[string]any
	anchors []string // keys of YAML that may be there for their anchors alone, such as x-defaults
}

// positions are the lines of keys and elements, by their paths. Nil keeps none and makes no paths: they cost more than the values, and
// most documents are never asked for them.
type positions map[string]int

// key returns the path of a key.
func (p positions) key(path, name string) string {
	if p == nil {
		return ""
	}
	return JoinKey(path, name)
}

// JoinIndex returns the path of an element.
func (p positions) item(path string, i int) string {
	if p == nil {
		return ""
	}
	return JoinIndex(path, i)
}

// add keeps the first line of a path.
func (p positions) add(path string, line int) {
	if p == nil {
		return
	}
	if _, known := p[path]; !known {
		p[path] = line
	}
}

// grammar reads the text of a document and adds the lines of its keys to positions, unless they are nil. The paths in its errors are
// empty then.
type grammar func(data []byte, at positions) (content, error)

// lines returns the lines of a document that is right. They are read when they are first asked for.
func (read grammar) lines(data []byte) func() positions {
	return sync.OnceValue(func() positions {
		at := positions{}
		_ = contained(func() { _, _ = read(data, at) })
		return at
	})
}

// grammars read the text of a document. A number keeps the form in which it is written, so that its type decides what it means.
// The readers are ours: the libraries' decoders round numbers on the way into an any, give keys another form, and look for
// duplicate keys in a time that grows with their square.
var grammars = map[string]grammar{YAML: readYAML, JSON: readJSON, TOML: readTOML}

// KnownFormat reports whether Parse reads a format.
func KnownFormat(format string) bool { return grammars[format] != nil }

// Parse reads a document. Its errors name the document and the line, and hold none of the values. The tree that comes with an error has
// what could be read, to find what else is wrong; it is empty if the text is broken.
func Parse(d driver.Document) (t Tree, err error) {
	t = Tree{Name: d.Name, Version: d.Version, Format: d.Format}
	if d.Data == nil {
		t.Values, _ = plain(d.Tree).(map[string]any)
		return t, nil
	}
	read, ok := grammars[d.Format]
	if !ok {
		return t, &driver.Error{Document: d.Name, Err: fmt.Errorf("%w: the format %q is none of yaml, json, toml: set Format in the options of the source, such as FileOptions.Format", driver.ErrInvalid, d.Format)}
	}
	data := bytes.TrimPrefix(d.Data, []byte("\xef\xbb\xbf")) // the mark that some editors on Windows put in front
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return t, &driver.Error{Document: d.Name, Err: fmt.Errorf("%w: is empty, as a file is that is just being written; a configuration without keys is %s", ErrSyntax, nothing(d.Format))}
	case !utf8.Valid(data):
		return t, &driver.Error{Document: d.Name, Err: fmt.Errorf("%w: is not UTF-8", ErrSyntax)}
	}
	defer func() {
		if v := recover(); v != nil { // a parser's defect must not end the program
			err = &driver.Error{Document: d.Name, Err: fmt.Errorf("%w: the parser of %s failed", ErrSyntax, d.Format)}
		}
	}()
	t.Digest = d.Data
	if t.content, err = read(data, nil); err == nil {
		t.lines = read.lines(data)
		return t, nil
	}
	at := positions{}
	t.lines = func() positions { return at }
	t.content, err = read(data, at)
	return t, located(d.Name, err)
}

func nothing(format string) string {
	if format == TOML {
		return "a comment"
	}
	return "{}"
}

// lineError is an error at a line, without the document's name.
type lineError struct {
	line int
	key  string
	err  error
}

func (e *lineError) Error() string { return e.err.Error() }
func (e *lineError) Unwrap() error { return e.err }

// located names the document, and the lines that the errors have.
func located(name string, err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var errs []error
		all := joined.Unwrap()
		for _, one := range all[:min(len(all), MaxErrors)] {
			errs = append(errs, located(name, one))
		}
		if more := len(all) - MaxErrors; more > 0 {
			errs = append(errs, fmt.Errorf("config: and %d more", more))
		}
		return errors.Join(errs...)
	}
	e := &driver.Error{Document: name, Err: fmt.Errorf("%w: %w", ErrSyntax, err)}
	var inner *lineError
	if errors.As(err, &inner) {
		e.Line, e.Key = inner.line, inner.key
	}
	return e
}

var (
	errDuplicate = errors.New("duplicate key")
	errDeep      = fmt.Errorf("is nested more than %d deep", maxDepth)
)

// maxDepth is how deep keys may lie in each other. What people write is far from it, and a document made to be deep would cost
// more than its size.
const maxDepth = 100

// lineEnds counts lines on the way through a text, each once.
type lineEnds struct {
	data    []byte
	counted int // bytes whose line ends are in ended
	ended   int
}

// lineAt returns the line of an offset, which is not before the last one asked for.
func (l *lineEnds) lineAt(offset int) int {
	if offset > l.counted {
		l.ended += bytes.Count(l.data[l.counted:offset], []byte("\n"))
		l.counted = offset
	}
	return 1 + l.ended
}

// Line returns the line of a path, or of the nearest place above it.
func (t *Tree) Line(path string) int {
	if t.lines == nil {
		return 0
	}
	for lines := t.lines(); path != ""; {
		if line, ok := lines[path]; ok {
			return line
		}
		path = above(path)
	}
	return 0
}

// escapes reports whether a text ends in a backslash that escapes what follows.
func escapes(text string) bool {
	return (len(text)-len(strings.TrimRight(text, `\`)))%2 == 1
}

// above returns the path without its last part.
func above(path string) string {
	quoted := false
	for i := len(path) - 1; i > 0; i-- {
		switch c := path[i]; {
		case c == '"' && !escapes(path[:i]):
			quoted = !quoted
		case !quoted && (c == '.' || c == '['):
			return path[:i]
		}
	}
	return ""
}
