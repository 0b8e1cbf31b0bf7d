package document

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// readTOML builds values from the expressions of a document. It extends tables by the same rules as the decoder of the library, which finds
// duplicate keys in quadratic time and rounds numbers.
func readTOML(data []byte, at positions) (content, error) {
	r := &tomlReader{data: data, positions: at, ends: lineEnds{data: data}}
	if offset, deep := tooDeepTOML(data); deep {
		return content{}, &lineError{line: r.ends.lineAt(offset), err: errDeep}
	}
	r.parser.Reset(data)
	root := newTable()
	r.table = root
	for r.parser.NextExpression() {
		if err := r.expression(root, r.parser.Expression()); err != nil {
			return content{}, errors.Join(append(r.errs, err)...)
		}
	}
	if err := r.parser.Error(); err != nil {
		return content{}, errors.Join(append(r.errs, r.syntax(err))...)
	}
	return content{Values: root.values}, errors.Join(r.errs...)
}

type tomlReader struct {
	data   []byte
	parser unstable.Parser
	positions
	ends    lineEnds   // the parser would count from the start each time
	table   *tomlTable // of the next key = value
	path    string     // of table
	section int        // number of headers so far
	errs    []error
}

// tomlTable is a table, or the last element of an array of tables.
type tomlTable struct {
	values map[string]any
	below  map[string]*tomlTable
	list   *[]any // the array of tables, if this is its last element
	header bool   // defined by a header: closed to other headers and dotted keys
	dotted int    // if not 0: defined by a dotted key in section dotted-1, and open only there
}

func newTable() *tomlTable {
	return &tomlTable{values: map[string]any{}, below: map[string]*tomlTable{}}
}

// add adds a table below t.
func (t *tomlTable) add(key string) *tomlTable {
	inner := newTable()
	t.values[key], t.below[key] = inner.values, inner
	return inner
}

// append adds an element to the array of tables below t.
func (t *tomlTable) append(key string, list *[]any) *tomlTable {
	inner := newTable()
	inner.list = list
	*list = append(*list, inner.values)
	t.values[key], t.below[key] = *list, inner
	return inner
}

func (r *tomlReader) fail(path, format string, args ...any) {
	r.errs = append(r.errs, &lineError{line: r.ends.lineAt(0), key: path, err: fmt.Errorf(format, args...)})
}

// syntax adds the line to an error of the parser.
func (r *tomlReader) syntax(err error) error {
	var at *unstable.ParserError
	if !errors.As(err, &at) {
		return &lineError{line: r.ends.lineAt(0), err: err}
	}
	offset := len(r.data)
	if len(at.Highlight) > 0 {
		offset = int(r.parser.Range(at.Highlight).Offset)
	}
	ends := lineEnds{data: r.data}
	return &lineError{line: ends.lineAt(offset), err: errors.New(OneLine(at.Message))}
}

func (r *tomlReader) expression(root *tomlTable, e *unstable.Node) error {
	if e.Kind == unstable.KeyValue {
		return r.keyValue(r.table, r.path, e, 0)
	}
	r.section++
	table, path := root, ""
	for it, depth := e.Key(), 1; it.Next(); depth++ {
		key, at, err := r.key(it.Node(), path, depth)
		if err != nil {
			return err
		}
		last := it.IsLast()
		switch next := table.below[key]; {
		case last && e.Kind == unstable.ArrayTable:
			table, at = r.arrayHeader(table, next, key, at)
		case last:
			table = r.header(table, next, key, at)
		case next != nil:
			table = next
			if next.list != nil {
				at = r.item(at, len(*next.list)-1)
			}
		default:
			if _, taken := table.values[key]; taken {
				r.fail(at, "is a value here and a table elsewhere")
			}
			table = table.add(key)
		}
		path = at
	}
	r.table, r.path = table, path
	return nil
}

// header starts the table [a.b].
func (r *tomlReader) header(above, table *tomlTable, key, at string) *tomlTable {
	_, taken := above.values[key]
	switch {
	case table == nil && taken:
		r.fail(at, "is a value here and a table elsewhere")
	case table != nil && (table.header || table.dotted > 0 || table.list != nil):
		r.fail(at, "%w: the table is defined elsewhere", errDuplicate)
	}
	if table == nil {
		table = above.add(key)
	}
	table.header = true
	return table
}

// arrayHeader starts the next element of [[a.b]].
func (r *tomlReader) arrayHeader(above, last *tomlTable, key, at string) (*tomlTable, string) {
	list := new([]any)
	if last != nil && last.list != nil {
		list = last.list
	} else if _, taken := above.values[key]; taken {
		r.fail(at, "%w: is defined elsewhere, and not as an array of tables", errDuplicate)
	}
	at = r.item(at, len(*list))
	r.add(at, r.ends.lineAt(0))
	return above.append(key, list), at
}

// key returns one part of a key, and its path. The line of a path is the line of its first occurrence.
func (r *tomlReader) key(n *unstable.Node, path string, depth int) (key, at string, err error) {
	line := r.ends.lineAt(int(n.Raw.Offset))
	if depth > maxDepth {
		return "", "", &lineError{line: line, err: errDeep}
	}
	key = string(n.Data)
	at = r.positions.key(path, key)
	r.add(at, line)
	return key, at, nil
}

// keyValue sets a.b = c in a table.
func (r *tomlReader) keyValue(table *tomlTable, path string, e *unstable.Node, depth int) error {
	for it := e.Key(); it.Next(); {
		depth++
		key, at, err := r.key(it.Node(), path, depth)
		if err != nil {
			return err
		}
		_, taken := table.values[key]
		if it.IsLast() {
			if taken {
				r.fail(at, "%w", errDuplicate)
			}
			table.values[key], err = r.value(e.Value(), at, depth)
			return err
		}
		next := table.below[key]
		switch {
		case next == nil && taken:
			r.fail(at, "is a value here and a table elsewhere")
		case next != nil && (next.header || next.list != nil || next.dotted > 0 && next.dotted != r.section+1):
			r.fail(at, "%w: the table is defined elsewhere, and cannot be added to here", errDuplicate)
		}
		if next == nil {
			next = table.add(key)
			next.dotted = r.section + 1
		}
		table, path = next, at
	}
	return nil
}

func (r *tomlReader) value(n *unstable.Node, path string, depth int) (any, error) {
	if n.Raw.Offset > 0 {
		r.ends.lineAt(int(n.Raw.Offset))
	}
	if depth > maxDepth {
		return nil, &lineError{line: r.ends.lineAt(0), err: errDeep}
	}
	switch n.Kind {
	case unstable.String:
		return string(n.Data), nil
	case unstable.Bool:
		return n.Data[0] == 't', nil
	case unstable.Integer, unstable.Float:
		if !tomlNumber.Match(n.Data) {
			r.fail(path, "is not a number of TOML")
		}
		return number(n.Data), nil
	case unstable.Array:
		return r.array(n, path, depth)
	case unstable.InlineTable:
		table := newTable()
		for it := n.Children(); it.Next(); {
			if err := r.keyValue(table, path, it.Node(), depth); err != nil {
				return nil, err
			}
		}
		return table.values, nil
	default:
		return r.time(string(n.Data), path), nil
	}
}

func (r *tomlReader) array(n *unstable.Node, path string, depth int) (any, error) {
	elements := []any{}
	for it := n.Children(); it.Next(); {
		at := r.item(path, len(elements))
		v, err := r.value(it.Node(), at, depth+1)
		if err != nil {
			return nil, err
		}
		r.add(at, r.ends.lineAt(0))
		elements = append(elements, v)
	}
	return elements, nil
}

// tomlNumber is the grammar of numbers, which the parser does not check fully.
var tomlNumber = regexp.MustCompile(`^(?:[+-]?(?:0|[1-9](?:_?[0-9])*)(?:\.[0-9](?:_?[0-9])*)?(?:[eE][+-]?[0-9](?:_?[0-9])*)?|0x[0-9A-Fa-f](?:_?[0-9A-Fa-f])*|0o[0-7](?:_?[0-7])*|0b[01](?:_?[01])*|[+-]?(?:inf|nan))$`)

// time parses a date, a time or both, as the library does.
func (r *tomlReader) time(written, path string) any {
	var doc struct{ At any }
	if err := toml.Unmarshal([]byte("At = "+written), &doc); err != nil {
		r.fail(path, "is no date or time")
	}
	return instant{written: written, at: doc.At}
}

// tooDeepTOML reports where brackets are nested too deep. It runs before the parser, which recurses for each of them.
func tooDeepTOML(data []byte) (offset int, deep bool) {
	depth := 0
	for i := 0; i < len(data); i++ {
		next := bytes.IndexAny(data[i:], "[]{}#\"'")
		if next < 0 {
			return 0, false
		}
		i += next
		switch data[i] {
		case '[', '{':
			if depth++; depth > maxDepth {
				return i, true
			}
		case ']', '}':
			depth--
		case '#':
			i += len(firstLine(data[i:]))
		default:
			i += tomlText(data[i:]) - 1
		}
	}
	return 0, false
}

func firstLine(data []byte) []byte {
	line, _, _ := bytes.Cut(data, []byte("\n"))
	return line
}

// tomlText returns the length of a quoted text at the start of data.
func tomlText(data []byte) int {
	end := data[:1]
	if bytes.HasPrefix(data, bytes.Repeat(end, 3)) {
		end = data[:3]
	}
	for i := len(end); i < len(data); i++ {
		switch {
		case data[i] == '\\' && end[0] == '"':
			i++
		case bytes.HasPrefix(data[i:], end):
			return i + len(end)
		case data[i] == '\n' && len(end) == 1:
			return i
		}
	}
	return len(data)
}
