package versions

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/control/config/internal/document"
)

// Difference is a key whose value differs between two versions.
type Difference struct {
	// Path of the key. A list is one value.
	Path string
	// Old and New are the values in JSON, with numbers and times as the documents write them. A value is empty if the key is missing, and
	// config.Redacted if the name of the key suggests a secret.
	Old, New string
}

// String returns the difference on one line, with a prefix: + (added), - (removed) or ~ (changed).
func (d Difference) String() string {
	switch {
	case d.Old == absent:
		return "+ " + d.Path + ": " + document.OneLine(d.New)
	case d.New == absent:
		return "- " + d.Path + ": " + document.OneLine(d.Old)
	default:
		return "~ " + d.Path + ": " + document.OneLine(d.Old) + " → " + document.OneLine(d.New)
	}
}

const absent = ""

// secretNames matches keys whose values a diff redacts, since a layer does not know the type of the configuration.
var secretNames = regexp.MustCompile(`(?i)(password|passwd|passphrase|secret|token|credential|private_?key|api_?key|dsn)`)

// Diff returns the differences between two versions, in the order of the paths. Version 0 is an empty document. It returns ErrNotFound if a
// version does not exist.
func (v *Layer) Diff(ctx context.Context, from, to int) (all []Difference, err error) {
	err = v.do(ctx, "diff", to, func(ctx context.Context) error {
		before, err := v.values(ctx, from)
		if err != nil {
			return err
		}
		after, err := v.values(ctx, to)
		if err != nil {
			return err
		}
		all = differences(before, after)
		return nil
	})
	return all, err
}

// values returns the values of a version by their paths.
func (v *Layer) values(ctx context.Context, number int) (map[string]any, error) {
	flat := map[string]any{}
	if number == 0 {
		return flat, nil
	}
	one, err := v.log.get(ctx, number)
	if err != nil {
		return nil, err
	}
	t, err := document.Parse(driver.Document{Name: layerVersion(v.layer, number), Format: one.Format, Data: []byte(one.Document)})
	if err != nil {
		return nil, err
	}
	flatten(flat, t.Values, "")
	return flat, nil
}

func flatten(into, values map[string]any, path string) {
	for key, value := range values {
		at := document.JoinKey(path, key)
		if inner, ok := value.(map[string]any); ok && len(inner) > 0 {
			flatten(into, inner, at)
			continue
		}
		into[at] = value
	}
}

func differences(a, b map[string]any) (all []Difference) {
	paths := maps.Clone(a)
	maps.Copy(paths, b)
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		x, hadX := a[path]
		y, hasY := b[path]
		if hadX == hasY && document.Equal(x, y) {
			continue
		}
		hide := secretNames.MatchString(path)
		d := Difference{Path: path, Old: absent, New: absent}
		if hadX {
			d.Old = quoted(x, hide)
		}
		if hasY {
			d.New = quoted(y, hide)
		}
		all = append(all, d)
	}
	return all
}

// quoted returns a value in the form of Difference.
func quoted(v any, hide bool) string {
	if hide {
		return config.Redacted
	}
	if s, ok := v.(string); ok {
		return strconv.Quote(document.ShowText(s))
	}
	return document.Show(visibleByName(v))
}

// visibleByName redacts values in a list whose keys suggest a secret.
func visibleByName(v any) any {
	switch v := v.(type) {
	case string:
		return document.ShowText(v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, inner := range v {
			if out[key] = visibleByName(inner); secretNames.MatchString(key) {
				out[key] = config.Redacted
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = visibleByName(v[i])
		}
		return out
	}
	return v
}
