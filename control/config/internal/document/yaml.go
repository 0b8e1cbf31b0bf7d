package document

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// readYAML builds values from the nodes of a document. The decoder of the library is not used: it finds duplicate keys in quadratic time,
// and rewrites numbers.
func readYAML(data []byte, at positions) (content, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	if err := decoder.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) { // comments
			return content{Values: map[string]any{}}, nil
		}
		return content{}, yamlError(err, data)
	}
	switch err := decoder.Decode(&more); {
	case err == nil:
		return content{}, &lineError{line: max(more.Line, 1), err: errors.New("holds a second document: write one document only")}
	case !errors.Is(err, io.EOF):
		return content{}, yamlError(err, data)
	}
	root := doc.Content[0]
	switch {
	case root.Kind == yaml.ScalarNode && root.Tag == yamlNull && root.Value == "": // comments below ---
		return content{Values: map[string]any{}}, nil
	case root.Kind != yaml.MappingNode:
		return content{}, &lineError{line: root.Line, err: errors.New("does not hold keys and values")}
	}
	r := &yamlReader{positions: at, open: map[*yaml.Node]bool{}}
	values, err := r.mapping(root, "", 0)
	return content{values, anchors(root)}, errors.Join(append(r.errs, err)...)
}

// anchors returns the keys with the prefix x- and an anchor in their value.
func anchors(root *yaml.Node) (keys []string) {
	for i := 0; i+1 < len(root.Content); i += 2 {
		if key := root.Content[i].Value; strings.HasPrefix(key, "x-") && hasAnchor(root.Content[i+1]) {
			keys = append(keys, key)
		}
	}
	return keys
}

func hasAnchor(n *yaml.Node) bool { return n.Anchor != "" || slices.ContainsFunc(n.Content, hasAnchor) }

// The tags of plain scalars.
const (
	yamlNull  = "!!null"
	yamlText  = "!!str"
	yamlMerge = "!!merge"
)

var (
	// yamlLine matches the line in an error of the parser, which omits line 1.
	yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)
	// yamlAnchor matches the error for an unknown alias. It quotes a text that may be a password.
	yamlAnchor = regexp.MustCompile(`unknown anchor '(.*)' referenced`)
)

func yamlError(err error, data []byte) error {
	if m := yamlAnchor.FindStringSubmatch(err.Error()); m != nil {
		before, _, _ := bytes.Cut(data, []byte("*"+m[1]))
		return &lineError{line: 1 + bytes.Count(before, []byte("\n")), err: errors.New("refers to an anchor that does not exist: put a text that begins with * in quotes")}
	}
	m := yamlLine.FindStringSubmatch(err.Error())
	if m == nil {
		return errors.New("cannot be read")
	}
	line, _ := strconv.Atoi(m[1])
	return &lineError{line: max(line, 1), err: errors.New(m[2])}
}

// yamlReader builds values from nodes.
type yamlReader struct {
	positions
	open    map[*yaml.Node]bool // anchors whose values are under construction
	aliased int                 // depth of nested aliases
	copies  int                 // values built for aliases
	errs    []error
}

// maxCopies is the largest number of values that aliases may expand to.
const maxCopies = 100_000

// fail records a mistake after which reading continues.
func (r *yamlReader) fail(n *yaml.Node, path, format string, args ...any) {
	r.errs = append(r.errs, &lineError{line: n.Line, key: path, err: fmt.Errorf(format, args...)})
}

func (r *yamlReader) value(n *yaml.Node, path string, depth int) (any, error) {
	if depth > maxDepth {
		return nil, &lineError{line: n.Line, err: errDeep}
	}
	if r.aliased > 0 {
		if r.copies++; r.copies > maxCopies {
			return nil, &lineError{line: n.Line, err: fmt.Errorf("has aliases that stand for more than %d values", maxCopies)}
		}
	}
	switch n.Kind {
	case yaml.MappingNode:
		return r.mapping(n, path, depth)
	case yaml.SequenceNode:
		return r.sequence(n, path, depth)
	case yaml.AliasNode:
		return r.alias(n, path, depth)
	}
	return r.scalar(n, path)
}

// alias builds the value of an alias. Its lines are the lines of the anchor.
func (r *yamlReader) alias(n *yaml.Node, path string, depth int) (any, error) {
	if r.open[n.Alias] {
		return nil, &lineError{line: n.Line, key: path, err: errors.New("an anchor contains itself")}
	}
	r.open[n.Alias] = true
	r.aliased++
	v, err := r.value(n.Alias, path, depth)
	r.aliased--
	delete(r.open, n.Alias)
	return v, err
}

func (r *yamlReader) mapping(n *yaml.Node, path string, depth int) (map[string]any, error) {
	defer r.enter(n)()
	r.groupTag(n, path, "!!map")
	values := make(map[string]any, len(n.Content)/2)
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.ScalarNode && key.Tag == yamlMerge {
			merged = append(merged, value)
			continue
		}
		name, ok := r.key(key, path)
		if !ok {
			continue
		}
		at := r.positions.key(path, name)
		if _, twice := values[name]; twice {
			r.fail(key, at, "%w", errDuplicate)
		}
		r.line(at, key)
		v, err := r.value(value, at, depth+1)
		if err != nil {
			return nil, err
		}
		values[name] = v
	}
	for _, m := range merged {
		if err := r.merge(values, m, path, depth); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// enter marks a node with an anchor as under construction.
func (r *yamlReader) enter(n *yaml.Node) (leave func()) {
	if n.Anchor == "" || r.open[n] {
		return func() {}
	}
	r.open[n] = true
	return func() { delete(r.open, n) }
}

// line records the line of a key or an element, but not inside an alias, whose values are written elsewhere.
func (r *yamlReader) line(path string, n *yaml.Node) {
	if r.aliased == 0 {
		r.add(path, n.Line)
	}
}

// key returns a key as written.
func (r *yamlReader) key(n *yaml.Node, path string) (string, bool) {
	n = behind(n)
	switch {
	case n.Kind != yaml.ScalarNode:
		r.fail(n, path, "a key is a list or a group of keys, not a text")
		return "", false
	case n.Tag == yamlNull:
		r.fail(n, path, "a key is null: put it in quotes, or name it")
		return "", false
	}
	return n.Value, true
}

// errMerge: a value cannot be merged. A list of lists could refer to itself.
var errMerge = errors.New("<< takes a group of keys, or a list of them")

// merge adds the missing keys of a mapping, or of a list of mappings.
func (r *yamlReader) merge(values map[string]any, n *yaml.Node, path string, depth int) error {
	list := []*yaml.Node{n}
	if target := behind(n); target.Kind == yaml.SequenceNode {
		list = target.Content
	}
	for _, one := range list {
		if behind(one).Kind != yaml.MappingNode {
			r.fail(n, path, "%w", errMerge)
			return nil
		}
		r.aliased++ // also for an inline mapping, whose keys may be overridden
		v, err := r.value(one, path, depth)
		r.aliased--
		if err != nil {
			return err
		}
		for key, inner := range asGroup(v) {
			if _, own := values[key]; own {
				continue
			}
			values[key] = inner
			r.line(r.positions.key(path, key), one)
		}
	}
	return nil
}

// behind returns the node behind an alias.
func behind(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func asGroup(v any) map[string]any {
	group, _ := v.(map[string]any)
	return group
}

func (r *yamlReader) sequence(n *yaml.Node, path string, depth int) ([]any, error) {
	defer r.enter(n)()
	r.groupTag(n, path, "!!seq")
	elements := make([]any, len(n.Content))
	for i, element := range n.Content {
		at := r.item(path, i)
		r.line(at, element)
		v, err := r.value(element, at, depth+1)
		if err != nil {
			return nil, err
		}
		elements[i] = v
	}
	return elements, nil
}

// scalar returns a scalar. Numbers and times keep their written form.
func (r *yamlReader) scalar(n *yaml.Node, path string) (any, error) {
	if err := r.tag(n); err != nil {
		r.fail(n, path, "%w", err)
		return nil, nil
	}
	switch n.ShortTag() {
	case yamlNull:
		return nil, nil
	case "!!bool":
		var b bool
		return b, n.Decode(&b)
	case "!!int", "!!float":
		return number(n.Value), nil
	case "!!timestamp":
		var t time.Time
		if err := n.Decode(&t); err != nil {
			r.fail(n, path, "is no time")
		}
		return instant{written: n.Value, at: t}, nil
	case "!!binary":
		var s string
		if err := n.Decode(&s); err != nil {
			r.fail(n, path, "is no base64")
		}
		return s, nil
	}
	return n.Value, nil
}

// groupTag reports an explicit tag of a mapping or a list that is not the tag of its kind.
func (r *yamlReader) groupTag(n *yaml.Node, path, own string) {
	if n.Style&yaml.TaggedStyle != 0 && n.ShortTag() != own {
		r.fail(n, path, "has a tag that means nothing here: remove it")
	}
}

// tag reports an explicit tag that does not match its value.
func (r *yamlReader) tag(n *yaml.Node) error {
	if n.Style&yaml.TaggedStyle == 0 {
		return nil
	}
	want := n.ShortTag()
	plain := yaml.Node{Kind: yaml.ScalarNode, Value: n.Value}
	got := plain.ShortTag()
	switch {
	case want == got, want == yamlText, want == "!!binary", want == "!!float" && got == "!!int":
		return nil
	case want == yamlNull, want == "!!bool", want == "!!int", want == "!!float", want == "!!timestamp":
		return fmt.Errorf("has the tag %s, and is not of that type", want)
	}
	return fmt.Errorf("has a tag that means nothing here; the tags of YAML are !!str, !!int, !!float, !!bool, !!null, !!timestamp and !!binary")
}
