//go:build unix

package config_test

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/driver"
)

// wide writes a document with n keys in one table.
func wide(format string, n int) string {
	var b strings.Builder
	open, line, end := "m:\n", "  k%d: v\n", ""
	switch format {
	case config.JSON:
		open, line, end = "{\"m\": {\"z\": \"v\"\n", ",\"k%d\": \"v\"\n", "}}"
	case config.TOML:
		open, line = "[m]\n", "k%d = \"v\"\n"
	}
	b.WriteString(open)
	for i := range n {
		fmt.Fprintf(&b, line, i)
	}
	return b.String() + end
}

// cpu returns the least processor time that a call takes in several: other processes do not count.
func cpu(t *testing.T, call func()) time.Duration {
	t.Helper()
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Skip(err)
		}
		return time.Duration(u.Utime.Nano())
	}
	least := time.Hour
	for range 3 {
		before := used()
		call()
		least = min(least, max(used()-before, time.Millisecond))
	}
	return least
}

// TestLinear reads a table of n keys and one of 16n: in linear time the second takes some 16 times as long, with caches and the garbage
// collector up to 40 times, and in quadratic time 256 times. YAML and TOML take no more than three times as long as JSON.
func TestLinear(t *testing.T) {
	type table struct{ M map[string]string }
	const small, large = 2_000, 32_000
	took := map[string]time.Duration{}
	for _, format := range []string{config.JSON, config.YAML, config.TOML} {
		load := func(n int) time.Duration {
			d := &doc{name: "wide", format: format, text: wide(format, n)}
			return cpu(t, func() {
				cfg, err := config.Load[table](t.Context(), options(d))
				if must(t, err); len(cfg.Get().M) < n {
					t.Fatal("keys are missing")
				}
			})
		}
		few, many := load(small), load(large)
		t.Logf("%s: %d keys in %v, %d in %v", format, small, few, large, many)
		if many > 80*few {
			t.Errorf("%s: %d keys take %v, %d take %v: more than linear", format, small, few, large, many)
		}
		took[format] = many
	}
	for _, format := range []string{config.YAML, config.TOML} {
		if took[format] > 3*took[config.JSON] {
			t.Errorf("%s takes %v, more than three times JSON's %v", format, took[format], took[config.JSON])
		}
	}
}

// TestDeepLists refuses lists that are made to be deep, in linear time and without deep stacks.
func TestDeepLists(t *testing.T) {
	const n = 400_000
	for format, text := range map[string]string{
		config.JSON: `{"a": ` + strings.Repeat("[", n) + strings.Repeat("]", n) + "}",
		config.YAML: "a: " + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + "\n",
		config.TOML: "a = " + strings.Repeat("[", n) + strings.Repeat("]", n) + "\n",
	} {
		_, err := config.Load[service](t.Context(), options(&doc{name: "x", format: format, text: text}))
		if err == nil || !strings.Contains(err.Error(), "deep") && !strings.Contains(err.Error(), "depth") {
			t.Errorf("%s: %.200v", format, err)
		}
	}
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := range 9 {
		fmt.Fprintf(&bomb, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i+1, i+1, i, i, i, i, i, i, i, i, i, i)
	}
	if _, err := config.Load[service](t.Context(), options(yaml(bomb.String()))); err == nil || !strings.Contains(err.Error(), "aliases that stand for more than") {
		t.Errorf("aliases: %.200v", err)
	}
}

// TestReloadCost reloads a document of 72 KiB.
func TestReloadCost(t *testing.T) {
	type table struct{ M map[string]string }
	for _, format := range []string{config.JSON, config.YAML, config.TOML} {
		d := &changing{doc{name: "wide", format: format, text: wide(format, 6000)}, 6000}
		cfg, err := config.Load[table](t.Context(), options(d))
		must(t, err)
		took := cpu(t, func() { must(t, cfg.Reload(t.Context())) })
		t.Logf("%s: %d KiB reload in %v", format, len(d.text)>>10, took)
		if took > time.Second { // 30 ms on a machine that does nothing else, and without the race detector
			t.Errorf("%s: a reload takes %v", format, took)
		}
	}
}

// changing is a document that has another key each time it is read.
type changing struct {
	doc
	n int
}

func (c *changing) Read(ctx context.Context) ([]driver.Document, error) {
	c.n++
	c.text = wide(c.format, c.n)
	return c.doc.Read(ctx)
}
