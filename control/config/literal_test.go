package config_test

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/go-os/go-os/control/config"
)

// literally is a text type that keeps its text as written.
type literally string

func (l *literally) UnmarshalText(b []byte) error { *l = literally(b); return nil }

// everywhere has values of a type in every position.
type everywhere[T any] struct {
	V T
	P *T
	L []T
	M map[string]T
	S struct{ V T }
	X config.Secret[T]
}

// positions returns a document for each format, with the value in every position.
func positions(value string) map[string]string {
	return map[string]string{
		config.YAML: strings.ReplaceAll("v: ?\np: ?\nl: [?]\nm: {k: ?}\ns: {v: ?}\nx: ?\n", "?", value),
		config.JSON: strings.ReplaceAll(`{"v": ?, "p": ?, "l": [?], "m": {"k": ?}, "s": {"v": ?}, "x": ?}`, "?", value),
		config.TOML: strings.ReplaceAll("v = ?\np = ?\nl = [?]\nm = {k = ?}\ns = {v = ?}\nx = ?\n", "?", value),
	}
}

func (e everywhere[T]) all() []T { return []T{e.V, *e.P, e.L[0], e.M["k"], e.S.V, e.X.Reveal()} }

// takenIn checks that the value is decoded to want in every position of the formats.
func takenIn[T any](t *testing.T, value, want string, formats ...string) {
	t.Helper()
	docs := positions(value)
	for _, format := range formats {
		cfg, err := config.Load[everywhere[T]](t.Context(), options(&doc{name: "d", format: format, text: docs[format]}))
		if err != nil {
			t.Errorf("%s %s: %v", format, value, err)
			continue
		}
		for i, got := range cfg.Get().all() {
			if s := fmt.Sprintf("%T %v", got, got); s != want && fmt.Sprint(got) != want {
				t.Errorf("%s %s, position %d: %s, want %s", format, value, i, s, want)
			}
		}
	}
}

// refusedIn checks that the value is rejected in every position, with the line and the key of each.
func refusedIn[T any](t *testing.T, value string, formats ...string) {
	t.Helper()
	docs := positions(value)
	for _, format := range formats {
		_, err := config.Load[everywhere[T]](t.Context(), options(&doc{name: "d", format: format, text: docs[format]}))
		if !errors.Is(err, config.ErrInvalid) && !errors.Is(err, config.ErrSyntax) {
			t.Errorf("%T, %s %s: %v", *new(T), format, value, err)
			continue
		}
		for i, key := range []string{"v", "p", "l[0]", "m.k", "s.v", "x"} {
			line := i + 1
			if format == config.JSON {
				line = 1
			}
			if want := fmt.Sprintf("config: d:%d: %s: ", line, key); !strings.Contains(err.Error(), want) {
				t.Errorf("%T, %s %s: want %q in\n%v", *new(T), format, value, want, err)
			}
		}
	}
}

const allFormats = "yaml json toml"

// TestNothingRounded: numbers of every kind, in every position of every format, are stored exactly or rejected.
func TestNothingRounded(t *testing.T) {
	all, y, yt := strings.Fields(allFormats), []string{config.YAML}, []string{config.YAML, config.TOML}
	for _, value := range []string{"1.10", "1e3", "123456789012345678901234567890", "-0", "0.0"} {
		takenIn[literally](t, value, value, all...)
	}
	takenIn[literally](t, "0644", "0644", y...)
	takenIn[literally](t, "1_000", "1_000", yt...)
	takenIn[literally](t, "0xFF", "0xFF", yt...)
	takenIn[literally](t, "2026-01-02", "2026-01-02", yt...)
	takenIn[big.Int](t, "123456789012345678901234567890", "{false [14083847773837265618 6692605942]}", all...)
	takenIn[int64](t, "-9223372036854775808", "-9223372036854775808", all...)
	takenIn[int64](t, "9007199254740993", "9007199254740993", all...)
	takenIn[int64](t, "1e3", "1000", all...)
	takenIn[int64](t, "15.0", "15", all...)
	takenIn[int](t, "0o17", "15", yt...)
	takenIn[int](t, "0x1F", "31", yt...)
	takenIn[int](t, "1_000", "1000", yt...)
	takenIn[uint64](t, "18446744073709551615", "18446744073709551615", all...)
	takenIn[float64](t, "0.1", "0.1", all...)
	takenIn[float64](t, "0.10000000000000001", "0.1", all...) // as printf("%.17g") writes it
	takenIn[float64](t, "9007199254740992", "9.007199254740992e+15", all...)
	takenIn[float64](t, "1e23", "1e+23", all...)
	takenIn[float64](t, "5e-324", "5e-324", all...)
	takenIn[float32](t, "16777216", "1.6777216e+07", all...)
	takenIn[float32](t, "0.1", "0.1", all...)
	takenIn[float64](t, ".inf", "+Inf", y...)
	takenIn[float64](t, "-inf", "-Inf", config.TOML)
	takenIn[config.Size](t, "9007199254740993", "9007199254740993B", all...)

	for _, value := range []string{"1.5", "9223372036854775808", "1e400", "1e-1", "1e99999999999999999999"} {
		refusedIn[int64](t, value, all...)
	}
	refusedIn[int](t, "0644", y...)
	refusedIn[uint16](t, "-1", all...)
	refusedIn[uint16](t, "65536", all...)
	for _, value := range []string{"16777217", "1e39", "1e-50", "0.123456789", "3.14159265358979"} {
		refusedIn[float32](t, value, all...)
	}
	for _, value := range []string{"9007199254740993", "1e400", "1e-400", "3.14159265358979323846"} {
		refusedIn[float64](t, value, all...)
	}
	refusedIn[float64](t, "0644", y...)
	for _, value := range []string{"1.10", "12", "true"} {
		refusedIn[string](t, value, all...)
	}
	refusedIn[time.Duration](t, "30", all...)
	refusedIn[time.Duration](t, `"0.5ns"`, all...)
	refusedIn[time.Time](t, `"2026-01-02T03:04:05.1234567890Z"`, all...)
	refusedIn[config.Size](t, "1.5", all...)
	refusedIn[config.Size](t, "18446744073709551616", all...)
	refusedIn[literally](t, "true", all...)
}

// TestAny: a number in a field of type any gets the type that can hold it, in every format.
func TestAny(t *testing.T) {
	for value, want := range map[string]any{
		"1": int64(1), "9007199254740993": int64(9007199254740993), "18446744073709551615": uint64(math.MaxUint64), "-5": int64(-5), "1.5": 1.5, "1e3": float64(1000), "true": true, `"x"`: "x",
	} {
		for format, text := range positions(value) {
			cfg, err := config.Load[everywhere[any]](t.Context(), options(&doc{name: "d", format: format, text: text}))
			if err != nil {
				t.Errorf("%s %s: %v", format, value, err)
				continue
			}
			for i, got := range cfg.Get().all() {
				if got != want {
					t.Errorf("%s %s, position %d: %T %v", format, value, i, got, got)
				}
			}
		}
	}
	for _, value := range []string{"18446744073709551616", "1e-400", "0.12345678901234567891"} {
		refusedIn[any](t, value, strings.Fields(allFormats)...)
	}
	refusedIn[any](t, "0644", config.YAML)
}

// TestKeysAsWritten: keys stay as written, even if YAML parsers read them as numbers, booleans or dates.
func TestKeysAsWritten(t *testing.T) {
	type named string
	type keys struct {
		M map[named]int
		A any
	}
	for _, key := range []string{"1.10", "0644", "1_000", "true", "Yes", "2026-01-02", "0x1F", "1e3", ".inf", "123456789012345678901234567890", "'a b'", `"1"`, "a.b"} {
		cfg, err := config.Load[keys](t.Context(), options(yaml("m: {"+key+": 1}\na: {"+key+": 1}\n")))
		must(t, err)
		plain := named(strings.Trim(key, `'"`))
		inner, _ := cfg.Get().A.(map[string]any)
		if cfg.Get().M[plain] != 1 || inner[string(plain)] != int64(1) {
			t.Errorf("%s: %v", key, *cfg.Get())
		}
	}
	for text, want := range map[string]string{
		"m:\n  1: 1\n  '1': 2\n":        "config: orders.yaml:3: m.1: syntax: duplicate key",
		"m:\n  ~: 1\n":                  "config: orders.yaml:2: m: syntax: a key is null: put it in quotes",
		"m:\n  ? [a]\n  : 1\n":          "config: orders.yaml:2: m: syntax: a key is a list",
		"m: {a: 1, a: 2, b: 1, b: 2}\n": "m.b: syntax: duplicate key",
		"m: {a: *b}\n":                  "config: orders.yaml:1: syntax: refers to an anchor that does not exist: put a text that begins with * in quotes",
		"m: {a: !foo 1}\n":              "config: orders.yaml:1: m.a: syntax: has a tag that means nothing here",
	} {
		if _, err := config.Load[keys](t.Context(), options(yaml(text))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestTextsOfNumbers decodes numbers from texts: variables of the environment, and defaults in tags.
func TestTextsOfNumbers(t *testing.T) {
	type numbers struct {
		N int
		F float32
		L []float32
		O struct{ N int64 }
	}
	for text, want := range map[string]string{
		"N=10": "", "N=0x10": "", "N=0o17": "", "N=1_000": "", "N=+5": "", "F=16777216": "", "L=1,2": "", `O={"n": 9007199254740993}`: "",
		"N=010": "begins with a 0", "N=08": "begins with a 0", "N=1_": "not a whole number", "N= 5": "not a whole number", "N=5.5": "not a whole number", "N=": "is empty: give it a value, or unset it", "F=": "is empty",
		"F=1e39": "out of the range of a float32", "F=16777217": "the nearest number is 1.6777216e+07", "L=1,1e39": "l[1]", "L=1,,2": "has an empty element", "F=0x1p-2": "is not a number",
		`O={"n": 1, "n": 2}`: "has a duplicate key", `O={"n": 1.5}`: "o.n: invalid: 1.5 is not a whole number",
	} {
		_, err := config.Load[numbers](t.Context(), options(config.Env("X_", []string{"X_" + text})))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
