package versions_test

import (
	"strings"
	"testing"

	"github.com/go-os/go-os/state/kv/memkv"
)

// TestDiffTypes compares values that look alike but differ for some type.
func TestDiffTypes(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"number and text":  {"a: 1\n", "a: '1'\n", `~ a: 1 → "1"`},
		"bool and text":    {"a: true\n", "a: 'true'\n", `~ a: true → "true"`},
		"null and text":    {"a: null\n", "a: 'null'\n", `~ a: null → "null"`},
		"null and none":    {"a: null\nb: 1\n", "b: 1\n", "- a: null"},
		"none and null":    {"b: 1\n", "a: null\nb: 1\n", "+ a: null"},
		"null and number":  {"a: null\n", "a: 1\n", "~ a: null → 1"},
		"digits":           {"a: 1.1\n", "a: 1.10\n", "~ a: 1.1 → 1.10"},
		"in a list":        {"a: [1, {b: 2}]\n", "a: [1, {b: '2'}]\n", `~ a: [1,{"b":2}] → [1,{"b":"2"}]`},
		"time and text":    {"a: 2026-01-02\n", "a: '2026-01-02'\n", `~ a: 2026-01-02 → "2026-01-02"`},
		"list and keys":    {"a: []\n", "a: {}\n", "~ a: [] → {}"},
		"the same":         {"a: [1, 2026-01-02, {b: x}]\nc: null\n", "c: ~\na: [1, 2026-01-02, {'b': 'x'}]\n", ""},
		"secret of a type": {"password: 1\n", "password: '1'\n", "~ password: [redacted] → [redacted]"},
	} {
		v := versionsIn(t, newStore(t, memkv.New(nil)), nil)
		for _, text := range []string{c.from, c.to} {
			_, err := v.Publish(t.Context(), draft(text))
			must(t, err)
		}
		all, err := v.Diff(t.Context(), 1, 2)
		must(t, err)
		var lines []string
		for _, d := range all {
			lines = append(lines, d.String())
		}
		if got := strings.Join(lines, "\n"); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}
