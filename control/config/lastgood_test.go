//go:build unix

package config

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/control/config/internal/document"
	"github.com/go-os/go-os/telemetry"
)

// TestSavedValues: the saved form keeps values of every kind.
func TestSavedValues(t *testing.T) {
	moment := time.Date(2026, 2, 3, 4, 5, 6, 789, time.FixedZone("", 3600))
	for _, test := range []struct{ given, want any }{
		{nil, nil}, {"", ""}, {"007", "007"}, {true, true}, {false, false},
		{int64(math.MaxInt64), int64(math.MaxInt64)}, {math.MinInt64, int64(math.MinInt64)}, {int8(-1), int64(-1)},
		{uint64(math.MaxUint64), uint64(math.MaxUint64)}, {0.1, 0.1}, {1e300, 1e300}, {math.Inf(1), math.Inf(1)}, {math.Inf(-1), math.Inf(-1)},
		{math.SmallestNonzeroFloat64, math.SmallestNonzeroFloat64}, {math.Copysign(0, -1), math.Copysign(0, -1)}, {float32(0.1), float64(float32(0.1))},
		{json.Number("1.10"), json.Number("1.10")}, {90 * time.Second, 90 * time.Second}, {NewSecret("hunter2"), "hunter2"}, {(*int)(nil), nil},
		{Size(1 << 20), "1MiB"}, {big.NewInt(7), "7"}, {[]string{"a", "b"}, []any{"a", "b"}}, {[]any{}, []any{}},
		{map[string]int64{"a.b": 1 << 60}, map[string]any{"a.b": int64(1 << 60)}},
		{map[string]any{"a": []any{int64(1), nil, map[string]any{}}}, map[string]any{"a": []any{int64(1), nil, map[string]any{}}}},
	} {
		if got := savedAndBack(t, test.given); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%T %v came back as %T %v", test.given, test.given, got, got)
		}
	}
	if got, ok := savedAndBack(t, moment).(time.Time); !ok || !got.Equal(moment) {
		t.Errorf("%v came back as %v", moment, got)
	}
	if got, ok := savedAndBack(t, math.NaN()).(float64); !ok || !math.IsNaN(got) {
		t.Errorf("NaN came back as %v", got)
	}
	for _, v := range []any{struct{}{}, make(chan int), map[int]string{1: "a"}, func() {}} {
		if _, err := document.SavedValueOf(map[string]any{"a": []any{v}}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), fmt.Sprintf("%T", v)) {
			t.Errorf("%T: %v", v, err)
		}
	}
}

func savedAndBack(t *testing.T, v any) any {
	t.Helper()
	saved, err := document.SavedValueOf(v)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(saved)
	if err != nil {
		t.Fatal(err)
	}
	var read document.SavedValue
	if err := json.Unmarshal(data, &read); err != nil {
		t.Fatal(err)
	}
	back, err := read.Value()
	if err != nil {
		t.Fatal(err)
	}
	return back
}

// given is a source whose documents and error a test sets.
type given struct {
	name string
	docs []driver.Document
	err  error
}

func (g *given) Name() string { return g.name }

func (g *given) Read(context.Context) ([]driver.Document, error) { return g.docs, g.err }

// TestLastGoodWithoutText: the file stands in for a source without text, although it cannot keep the values of another source.
func TestLastGoodWithoutText(t *testing.T) {
	type document struct {
		N int64
		U uint64
		F float64
		D time.Duration
		L []int64
		S Secret[string]
	}
	kept := &given{name: "kept", docs: []driver.Document{{Name: "tree", Tree: map[string]any{
		"n": int64(1<<53 + 1), "u": uint64(math.MaxUint64), "f": math.Inf(1), "d": "90s", "l": []any{int64(1<<53 + 1)}, "s": "hunter2",
	}}}}
	odd := &given{name: "odd", docs: []driver.Document{{Name: "odd", Tree: map[string]any{"extra": make(chan int)}}}}
	opts := &Options{LastGood: filepath.Join(t.TempDir(), "last-good"), Telemetry: telemetry.Off(), AllowUnknown: true, Sources: []Source{kept, odd}}
	before, err := Load[document](t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := before.Err(); err == nil || !strings.Contains(err.Error(), "odd is left out: invalid: a value of type chan int cannot be saved") {
		t.Errorf("a source that cannot be kept: %v", err)
	}
	kept.err, odd.err = driver.ErrUnavailable, driver.ErrUnavailable
	opts.Sources = []Source{Required(kept), odd}
	after, err := Load[document](t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(*before.Get(), *after.Get()) || after.Get().N != 1<<53+1 {
		t.Errorf("%+v became %+v", *before.Get(), *after.Get())
	}
}

// TestLastGoodOfOthers: a last-good file that another user may have written is rejected with a reason, and replaced by the next good state.
func TestLastGoodOfOthers(t *testing.T) {
	type document struct{ A string }
	source := &given{name: "source", docs: []driver.Document{{Name: "doc", Format: YAML, Data: []byte("a: fine\n")}}}
	for _, test := range []struct {
		why   string
		spoil func(t *testing.T, name string)
	}{
		{"is a symbolic link", func(t *testing.T, name string) {
			ok(t, os.Rename(name, name+".other"))
			ok(t, os.Symlink(name+".other", name))
		}},
		{"has the mode 0644", func(t *testing.T, name string) { ok(t, os.Chmod(name, 0o644)) }},
		{"has the mode 0620", func(t *testing.T, name string) { ok(t, os.Chmod(name, 0o620)) }},
		{"is owned by user 65534", func(t *testing.T, name string) {
			if err := os.Chown(name, 65534, -1); err != nil {
				t.Skip(err)
			}
		}},
		{"over the limit of 64 MiB", func(t *testing.T, name string) { ok(t, os.Truncate(name, maxLastGood+1)) }},
		{"is a named pipe", func(t *testing.T, name string) {
			ok(t, os.Remove(name))
			ok(t, syscall.Mkfifo(name, 0o600))
		}},
		{"invalid JSON at byte", func(t *testing.T, name string) { ok(t, os.WriteFile(name, []byte(`{"a: hunter2`), 0o600)) }},
		{`a value of the unknown kind "odd"`, func(t *testing.T, name string) {
			ok(t, os.WriteFile(name, []byte(`{"sources":{"source":[{"name":"doc","values":{"kind":"odd","text":"hunter2"}}]}}`), 0o600))
		}},
	} {
		t.Run(test.why, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "last-good")
			load := func(s Source) (*Config[document], error) {
				return Load[document](t.Context(), &Options{LastGood: name, Telemetry: telemetry.Off(), Sources: []Source{s}})
			}
			_, err := load(source)
			ok(t, err)
			test.spoil(t, name)
			away := &given{name: "source", err: driver.ErrUnavailable}
			_, err = load(Required(away))
			if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), test.why) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("required: %v", err)
			}
			cfg, err := load(away)
			ok(t, err)
			if err := cfg.Err(); cfg.Get().A != "" || err == nil || !strings.Contains(err.Error(), test.why) {
				t.Errorf("not required: %q, %v", cfg.Get().A, err)
			}
			_, err = load(source)
			ok(t, err)
			if cfg, err = load(Required(away)); err != nil || cfg.Get().A != "fine" {
				t.Errorf("not replaced: %v", err)
			}
		})
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestParsingEndsInTime: Load abandons documents that take longer to parse than Options.Timeout.
func TestParsingEndsInTime(t *testing.T) {
	text := []byte(strings.Repeat("- {a: 1, b: [2, 3], c: {d: 4}}\n", 5000))
	source := &given{name: "large"}
	for i := range 1000 {
		source.docs = append(source.docs, driver.Document{Name: fmt.Sprint(i), Format: YAML, Data: append([]byte("list:\n"), text...)})
	}
	begun := time.Now()
	c, err := Load[struct{ List []any }](t.Context(), &Options{Telemetry: telemetry.Off(), Timeout: 10 * time.Millisecond, Sources: []Source{source}})
	ok(t, err)
	if took := time.Since(begun); took > 10*time.Second || !errors.Is(c.Err(), ErrUnavailable) {
		t.Errorf("Load took %v: %v", took, c.Err())
	}
}
