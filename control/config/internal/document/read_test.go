package document

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"
	"go.yaml.in/yaml/v3"
)

// tomlSeeds are documents with valid and invalid definitions of tables and keys.
var tomlSeeds = []string{
	"a = 1\nb = 'x'\n", "[a]\nb = 1\n[a.c]\nd = 2\n", "[a.b]\nc = 1\n[a]\nd = 2\n", "[a]\n[a]\n", "[a]\nb = 1\n[a.b]\n", "a = 1\n[a]\n", "a.b = 1\na.c = 2\n", "a.b = 1\n[a]\n",
	"[f]\na.b = 1\n[f.a]\n", "[f]\na.b = 1\n[f.a.c]\nd = 1\n", "[a.b.c]\nz = 9\n[a]\nb.c.t = 1\n", "[a.b.c]\nz = 9\n[a]\nb.d = 1\n", "a = {b = 1}\na.c = 2\n", "a = {b.c = 1, b.d = 2}\n", "a = {b = 1, b = 2}\n",
	"[[a]]\nb = 1\n[[a]]\nb = 2\n[a.c]\nd = 3\n", "[[a]]\n[a]\n", "[a]\n[[a]]\n", "a = []\n[[a]]\n", "[[a.b]]\n[[a.b.c]]\nd = 1\n[a]\ne = 1\n", "[[a]]\nb.c = 1\n[[a]]\nb.c = 2\n", "[a]\nb.c = 1\nb.d = 2\n[b]\n",
	"a = [[1, 2], ['x'], {b = 1}]\n", "a = 0x1F\nb = 0o17\nc = 0b11\nd = 1_000\ne = +5\nf = -0.5e+3\ng = inf\nh = -nan\n", "a = 01\n", "a = 1__0\n", "a = 1.\n", "a = .5\n", "a = 0x\n", "a = 1e5_\n",
	"a = 2026-01-02\nb = 2026-01-02T03:04:05Z\nc = 03:04:05\nd = 2026-01-02 03:04:05.5\n", "a = 2026-13-02\n", "a = \"\"\"x\n[[[{{{\n\"\"\"\nb = '''[[['''\nc = '[[' # [[[\n", "'' = 1\n\"a.b\" = {'c' = 2}\n", "a = tru\n", "= 1\n", "a\n",
	"a.b.c = 1\n[a.b]\n", "[a]\nb = {}\n[a.b.c]\n", "a = \"\\u00e9\\\"\\\\\"\n", "a = 1 # c\n# only a comment\n",
}

// TestTOMLAgrees checks that the library accepts the same documents, with the same values.
func TestTOMLAgrees(t *testing.T) {
	for _, text := range tomlSeeds {
		agreeTOML(t, text)
	}
}

func FuzzTOMLAgrees(f *testing.F) {
	for _, text := range tomlSeeds {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { agreeTOML(t, text) })
}

func agreeTOML(t *testing.T, text string) {
	t.Helper()
	want := map[string]any{}
	errWant := toml.Unmarshal([]byte(text), &want)
	got, err := readTOML([]byte(text), nil)
	if (err == nil) != (errWant == nil) {
		if errWant != nil && (strings.Contains(errWant.Error(), "parse") || strings.Contains(errWant.Error(), "too large")) || err != nil && strings.Contains(err.Error(), "nested") {
			return // a number that needs a wider type, or a depth over the limit
		}
		t.Errorf("%q: the library says %v, we say %v", text, errWant, err)
		return
	}
	if err == nil && !alike(got.Values, want) {
		t.Errorf("%q:\n got %v\nwant %v", text, got, want)
	}
}

// yamlSeeds are documents with the special features of YAML.
var yamlSeeds = []string{
	"a: 1\nb: [x, 'y', \"z\"]\nc: {d: true, e: null, f: ~}\n", "a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}\n", "a: &x {b: 1, c: 2}\nd:\n  <<: [*x, {b: 3, e: 4}]\n  c: 5\n", "a: |\n  text\n  more\nb: >\n  fold\n  ed\n",
	"a: !!str 12\nb: !!int '3'\nc: !!float 3\nd: !!binary aGVsbG8=\ne: !!timestamp 2026-01-02\n", "a: 2026-01-02\nb: 2026-01-02T03:04:05Z\n", "a: .inf\nb: -.Inf\nc: .NaN\nd: 1e3\ne: 0x1F\nf: 0b11\ng: 0o17\nh: 1_000\n", "a:\n- b: 1\n  c: 2\n- - d\n",
	"on: yes\nTrue: False\n", "a: ''\nb:\n", "? a\n: b\n", "a: 1\na: 2\n", "a: &x [*x]\n", "a: *gone\n", "{}\n", "a: \"\\u00e9\\n\"\n", "--- \na: 1\n...\n", "%YAML 1.2\n---\na: 1\n", "a: @x\n", "a: b: c\n", "a: [1\n", "\ta: 1\n",
	"a: &a {x: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: *b, z: 3}\n",
}

// TestYAMLAgrees checks that the library accepts the same documents, with the same values.
func TestYAMLAgrees(t *testing.T) {
	for _, text := range yamlSeeds {
		agreeYAML(t, text)
	}
}

func FuzzYAMLAgrees(f *testing.F) {
	for _, text := range yamlSeeds {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { agreeYAML(t, text) })
}

func agreeYAML(t *testing.T, text string) {
	t.Helper()
	want := map[string]any{}
	errWant := yaml.Unmarshal([]byte(text), &want)
	got, err := readYAML([]byte(text), nil)
	switch {
	case err != nil && errWant == nil:
		return // stricter
	case err == nil && errWant != nil:
		t.Errorf("%q: the library says %v, we take %v", text, errWant, got)
	case err == nil && !alike(got.Values, want):
		t.Errorf("%q:\n got %v\nwant %v", text, got, want)
	}
}

func FuzzJSONAgrees(f *testing.F) {
	for _, text := range []string{`{"a": [1, 2.5, -3e2, "x", true, null, {}]}`, `{"a": {"b": "\u00e9\n\ud83d\ude00"}}`, `{"a": "\ud800"}`, `{"a":1}}`, "{\"a\": \"\ufffd\"}"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var want map[string]any
		errWant := json.Unmarshal([]byte(text), &want)
		got, err := readJSON([]byte(text), nil)
		if err == nil && (errWant != nil || !alike(got.Values, want)) {
			t.Errorf("%q:\n got %v\nwant %v, %v", text, got, want, errWant)
		}
	})
}

// alike compares our value with that of a library, which may be rounded.
func alike(got, want any) bool {
	switch g := got.(type) {
	case map[string]any:
		w := reflect.ValueOf(want)
		if w.Kind() != reflect.Map || w.Len() != len(g) {
			return false
		}
		for it := w.MapRange(); it.Next(); {
			inner, ok := g[fmt.Sprint(it.Key())]
			if !ok && len(g) > 0 { // a key that is not a text is rewritten by the library
				continue
			}
			if !alike(inner, it.Value().Interface()) {
				return false
			}
		}
		return true
	case []any:
		w, ok := want.([]any)
		if !ok || len(w) != len(g) {
			return false
		}
		for i := range g {
			if !alike(g[i], w[i]) {
				return false
			}
		}
		return true
	case number:
		return alikeNumber(g, want)
	case instant:
		if at, ok := g.at.(time.Time); ok {
			w, ok := want.(time.Time)
			return ok && at.Equal(w)
		}
		return reflect.DeepEqual(g.at, want)
	}
	return reflect.DeepEqual(got, want)
}

func alikeNumber(n number, want any) bool {
	var w float64
	switch v := want.(type) {
	case int:
		w = float64(v)
	case int64:
		w = float64(v)
	case uint64:
		w = float64(v)
	case float64:
		w = v
	default:
		return false
	}
	l, ok := readLiteral(string(n))
	if !ok {
		return false
	}
	if l.ambiguous() {
		return true
	}
	g, err := l.float(64)
	return err != nil || g == w || math.IsNaN(g) && math.IsNaN(w)
}

// TestAbove removes the last part of a path.
func TestAbove(t *testing.T) {
	for path, want := range map[string]string{
		"a": "", "a.b": "a", "a.b[2]": "a.b", `a."b.c"`: "a", JoinKey(JoinKey("a", `b \`), "c"): JoinKey("a", `b \`), JoinKey("a", `b \`): "a", JoinKey("a", `b "\`): "a", JoinKey("a", `"`): "a",
	} {
		if got := above(path); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}
