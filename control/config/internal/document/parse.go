// Package document parses documents, merges them, decodes them into a Go type, and checks the value. Its functions are pure: state, I/O and
// telemetry belong to package config.
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
	Digest []byte           // identifies the contents; nil for a document without text
}

// The formats of documents.
const (
	YAML = "yaml"
	JSON = "json"
	TOML = "toml"
)

// FormatOf returns the format for the extension of a name, or the extension itself.
func FormatOf(name string) string {
	ending := strings.ToLower(strings.TrimPrefix(filepath.Ext(name), "."))
	if ending == "yml" {
		return YAML
	}
	return ending
}

// content is a parsed document.
type content struct {
	Values  map[string]any
	anchors []string // top-level keys of YAML that may exist only for their anchors, such as x-defaults
}

// positions are the lines of keys and elements, by path. A nil map records no lines and builds no paths: they cost more than the values,
// and are rarely needed.
type positions map[string]int

// key returns the path of a key.
func (p positions) key(path, name string) string {
	if p == nil {
		return ""
	}
	return JoinKey(path, name)
}

// item returns the path of an element.
func (p positions) item(path string, i int) string {
	if p == nil {
		return ""
	}
	return JoinIndex(path, i)
}

// add records the line of a path, unless an earlier line is recorded.
func (p positions) add(path string, line int) {
	if p == nil {
		return
	}
	if _, known := p[path]; !known {
		p[path] = line
	}
}

// grammar parses the text of a document and records the lines of its keys in positions. If positions are nil, its errors have no paths.
type grammar func(data []byte, at positions) (content, error)

// lines returns a function that parses the lines of a valid document at its first call.
func (read grammar) lines(data []byte) func() positions {
	return sync.OnceValue(func() positions {
		at := positions{}
		_ = contained(func() { _, _ = read(data, at) })
		return at
	})
}

// grammars parse the formats. A number keeps its written form, so that the type of its field decides what it means. The decoders of the
// libraries are not used: they round numbers on the way into an any, rewrite keys, and find duplicate keys in quadratic time.
var grammars = map[string]grammar{YAML: readYAML, JSON: readJSON, TOML: readTOML}

// CheckFormat returns driver.ErrInvalid with a remedy unless Parse supports the format.
func CheckFormat(format, remedy string) error {
	if KnownFormat(format) {
		return nil
	}
	return fmt.Errorf("%w: the format %q is none of yaml, json, toml: %s", driver.ErrInvalid, format, remedy)
}

// KnownFormat reports whether Parse supports a format.
func KnownFormat(format string) bool { return grammars[format] != nil }

// Parse parses a document. Its errors name the document and the line, and show no values. With an error it returns the part of the tree
// that could be parsed, so that a caller can find further mistakes. The tree is empty if the syntax is broken.
func Parse(d driver.Document) (t Tree, err error) {
	t = Tree{Name: d.Name, Version: d.Version, Format: d.Format}
	if d.Data == nil {
		t.Values, _ = plain(d.Tree).(map[string]any)
		return t, nil
	}
	if err := CheckFormat(d.Format, "set Format in the options of the source, such as FileOptions.Format"); err != nil {
		return t, &driver.Error{Document: d.Name, Err: err}
	}
	read := grammars[d.Format]
	data := bytes.TrimPrefix(d.Data, []byte("\xef\xbb\xbf")) // the byte order mark of some editors on Windows
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return t, &driver.Error{Document: d.Name, Err: fmt.Errorf("%w: is empty: for a configuration without keys write %s", ErrSyntax, nothing(d.Format))}
	case !utf8.Valid(data):
		return t, &driver.Error{Document: d.Name, Err: fmt.Errorf("%w: is not UTF-8", ErrSyntax)}
	}
	defer func() {
		if v := recover(); v != nil { // a bug of the parser must not end the program
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

// lineError is an error with its line, but without the name of its document.
type lineError struct {
	line int
	key  string
	err  error
}

func (e *lineError) Error() string { return e.err.Error() }
func (e *lineError) Unwrap() error { return e.err }

// located adds the name of the document and the lines to errors.
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

// maxDepth is the deepest nesting of keys. Real documents stay far below it. A hostile one would cost more than its size suggests.
const maxDepth = 100

// lineEnds counts lines in one pass through a text.
type lineEnds struct {
	data    []byte
	counted int // bytes already scanned
	ended   int
}

// lineAt returns the line of an offset. Offsets must not decrease from call to call.
func (l *lineEnds) lineAt(offset int) int {
	if offset > l.counted {
		l.ended += bytes.Count(l.data[l.counted:offset], []byte("\n"))
		l.counted = offset
	}
	return 1 + l.ended
}

// Line returns the line of a path, or of its nearest ancestor that has one.
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

// escapes reports whether a text ends in a backslash that escapes the next character.
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
