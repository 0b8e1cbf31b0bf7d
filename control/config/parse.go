package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"unicode/utf8"

	jsonparser "github.com/knadh/koanf/parsers/json"
	tomlparser "github.com/knadh/koanf/parsers/toml/v2"
	yamlparser "github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/v2"
	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
	"go.yaml.in/yaml/v3"

	"github.com/go-os/go-os/control/config/driver"
)

// tree is a parsed document.
type tree struct {
	name    string
	version string
	format  string
	values  map[string]any
	lines   map[string]int // by path; none for a document without text
	digest  []byte         // what makes the document this one
}

// Formats that documents are written in.
const (
	YAML = "yaml"
	JSON = "json"
	TOML = "toml"
)

// grammar is one format: koanf's parser, and ours for the lines of the keys.
type grammar struct {
	parser koanf.Parser
	lines  func([]byte) (map[string]int, error)
}

var grammars = map[string]grammar{
	YAML: {yamlparser.Parser(), yamlLines},
	JSON: {jsonparser.Parser(), jsonLines},
	TOML: {tomlparser.Parser(), tomlLines},
}

// parse reads a document. Its errors name the document and the line, and hold none of the values.
func parse(d driver.Document) (t tree, err error) {
	t = tree{name: d.Name, version: d.Version, format: d.Format}
	if d.Data == nil {
		t.values, _ = plain(clone(d.Tree)).(map[string]any)
		return t, nil
	}
	g, ok := grammars[d.Format]
	if !ok {
		return t, &Error{Document: d.Name, Err: fmt.Errorf("%w: the format %q is none of yaml, json, toml: give it with the source", ErrInvalid, d.Format)}
	}
	data := bytes.TrimPrefix(d.Data, []byte("\xef\xbb\xbf")) // the mark that some editors on Windows put in front
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return t, &Error{Document: d.Name, Err: fmt.Errorf("%w: is empty, as a file is that is just being written; a configuration without keys is %s", ErrSyntax, nothing(d.Format))}
	case !utf8.Valid(data):
		return t, &Error{Document: d.Name, Err: fmt.Errorf("%w: is not UTF-8", ErrSyntax)}
	}
	defer func() {
		if v := recover(); v != nil { // a parser's defect must not end the program
			err = &Error{Document: d.Name, Err: fmt.Errorf("%w: the parser of %s failed", ErrSyntax, d.Format)}
		}
	}()
	if t.lines, err = g.lines(data); err != nil {
		return t, located(d.Name, err)
	}
	values, err := g.parser.Unmarshal(data)
	if err != nil {
		return t, located(d.Name, yamlError(err))
	}
	t.values, _ = plain(values).(map[string]any)
	t.digest = d.Data
	return t, nil
}

// plain turns the maps and lists of every parser into map[string]any and []any.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			v[k] = plain(inner)
		}
		return v
	case map[any]any:
		out := make(map[string]any, len(v))
		for k, inner := range v {
			out[fmt.Sprint(k)] = plain(inner)
		}
		return out
	case []map[string]any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plain(v[i])
		}
		return out
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	}
	return v
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

// located names the document, and the line if the parser's error tells it. What the error quotes is left out.
func located(name string, err error) error {
	e := &Error{Document: name, Err: fmt.Errorf("%w: %s", ErrSyntax, withoutQuotes(err.Error()))}
	var inner *lineError
	var inTOML *toml.DecodeError
	switch {
	case errors.As(err, &inner):
		e.Line, e.Key = inner.line, inner.key
	case errors.As(err, &inTOML):
		e.Line, _ = inTOML.Position()
	}
	return e
}

// quotes are how parsers quote what they cannot take: YAML in backticks, or a map key as Go code, strconv in quotation marks.
var quotes = regexp.MustCompile("`[^`]*`|\"[^\"]*\"|(map key): .*")

func withoutQuotes(text string) string { return quotes.ReplaceAllString(text, "$1…") }

var (
	errTwice = errors.New("stands here a second time")
	errDeep  = fmt.Errorf("is nested more than %d deep", maxDepth)
)

// maxDepth is how deep keys may lie in each other. What people write is far from it, and a document made to be deep would cost
// more than its size.
const maxDepth = 100

// yamlLines looks at the nodes of a document. Aliases are not followed: what they stand for has its lines elsewhere.
func yamlLines(data []byte) (map[string]int, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	if err := decoder.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("holds no document; a configuration without keys is {}")
		}
		return nil, yamlError(err)
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, &lineError{line: max(more.Line, 1), err: errors.New("holds a second document, which would not be read")}
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, &lineError{line: root.Line, err: errors.New("does not hold keys and values")}
	}
	lines := map[string]int{}
	return lines, yamlNode(lines, root, "", 0)
}

// yamlLine is how the parser tells the line of a mistake.
var yamlLine = regexp.MustCompile(`(?s)^yaml: (?:unmarshal errors:\s+)?line (\d+): (.*)$`)

func yamlError(err error) error {
	m := yamlLine.FindStringSubmatch(err.Error())
	if m == nil {
		return err
	}
	line, _ := strconv.Atoi(m[1])
	return &lineError{line: line, err: errors.New(m[2])}
}

func yamlNode(lines map[string]int, n *yaml.Node, path string, depth int) error {
	if depth > maxDepth {
		return &lineError{line: n.Line, err: errDeep}
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			at := join(path, n.Content[i].Value)
			if _, twice := lines[at]; twice {
				return &lineError{line: n.Content[i].Line, key: at, err: errTwice}
			}
			lines[at] = n.Content[i].Line
			if err := yamlNode(lines, n.Content[i+1], at, depth+1); err != nil {
				return err
			}
		}
	case yaml.SequenceNode:
		for i, element := range n.Content {
			lines[item(path, i)] = element.Line
			if err := yamlNode(lines, element, item(path, i), depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// jsonLines walks the tokens, and refuses what encoding/json lets pass: a key that stands twice, text after the end.
func jsonLines(data []byte) (map[string]int, error) {
	w := &jsonWalk{data: data, decoder: json.NewDecoder(bytes.NewReader(data)), lines: map[string]int{}, ends: lineEnds{data: data}}
	token, err := w.decoder.Token()
	if err != nil {
		return nil, w.at(err)
	}
	if token != json.Delim('{') {
		return nil, &lineError{line: 1, err: errors.New("does not hold an object")}
	}
	if err := w.object(""); err != nil {
		return nil, w.at(err)
	}
	if _, err := w.decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, w.at(errors.New("goes on after its end"))
	}
	return w.lines, nil
}

type jsonWalk struct {
	data    []byte
	decoder *json.Decoder
	lines   map[string]int
	ends    lineEnds
	depth   int
}

// line returns the line of the last token.
func (w *jsonWalk) line() int { return w.ends.lineAt(int(w.decoder.InputOffset())) }

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

func (w *jsonWalk) at(err error) error {
	var known *lineError
	if errors.As(err, &known) {
		return err
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	line := w.line()
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		line = 1 + bytes.Count(w.data[:min(int(syntax.Offset), len(w.data))], []byte("\n"))
	}
	return &lineError{line: line, err: err}
}

// object reads to the end of an object that has begun.
func (w *jsonWalk) object(path string) error {
	seen := map[string]bool{}
	for w.decoder.More() {
		token, err := w.decoder.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		at := join(path, name)
		if seen[name] {
			return &lineError{line: w.line(), key: at, err: errTwice}
		}
		seen[name] = true
		w.lines[at] = w.line()
		if err := w.value(at); err != nil {
			return err
		}
	}
	_, err := w.decoder.Token()
	return err
}

func (w *jsonWalk) value(path string) error {
	if w.depth++; w.depth > maxDepth {
		return &lineError{line: w.line(), err: errDeep}
	}
	defer func() { w.depth-- }()
	token, err := w.decoder.Token()
	switch {
	case err != nil:
		return err
	case token == json.Delim('{'):
		return w.object(path)
	case token != json.Delim('['):
		return nil
	}
	for i := 0; w.decoder.More(); i++ {
		at := item(path, i)
		if err := w.value(at); err != nil {
			return err
		}
		w.lines[at] = w.line()
	}
	_, err = w.decoder.Token()
	return err
}

// tomlLines follows the expressions; those of inline tables have the line of their key.
func tomlLines(data []byte) (map[string]int, error) {
	var p unstable.Parser
	p.Reset(data)
	lines, arrays, table := map[string]int{}, map[string]int{}, ""
	ends := lineEnds{data: data} // the parser's own count begins at the top each time
	for p.NextExpression() {
		e := p.Expression()
		at := ""
		if e.Kind == unstable.KeyValue {
			at = table
		}
		line := 0
		for it, depth := e.Key(), 0; it.Next(); depth++ {
			node := it.Node()
			if depth > maxDepth {
				return nil, &lineError{line: ends.lineAt(int(node.Raw.Offset)), err: errDeep}
			}
			at = join(at, string(node.Data))
			line = ends.lineAt(int(node.Raw.Offset))
			if _, known := lines[at]; !known {
				lines[at] = line
			}
		}
		switch e.Kind {
		case unstable.Table:
			table = at
		case unstable.ArrayTable:
			table = item(at, arrays[at])
			lines[table] = line
			arrays[at]++
		}
	}
	// A mistake is told by the parser that reads the values, with its line.
	return lines, nil
}

// line returns the line of a path, or of the nearest place above it.
func (t *tree) line(path string) int {
	for path != "" {
		if line, ok := t.lines[path]; ok {
			return line
		}
		path = above(path)
	}
	return 0
}

// above returns the path without its last part.
func above(path string) string {
	quoted := false
	for i := len(path) - 1; i > 0; i-- {
		switch c := path[i]; {
		case c == '"' && path[i-1] != '\\':
			quoted = !quoted
		case !quoted && (c == '.' || c == '['):
			return path[:i]
		}
	}
	return ""
}
