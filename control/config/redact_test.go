package config_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"text/template"

	yamlv3 "go.yaml.in/yaml/v3"

	"github.com/go-os/go-os/control/config"
)

const password = "hunter2"

// leaks reports whether a text shows the password: plain, in hexadecimal digits, or as the numbers of its bytes.
func leaks(text string) bool {
	for _, form := range []string{password, fmt.Sprintf("%x", password), fmt.Sprintf("%X", password), strings.Trim(fmt.Sprint([]byte(password)), "[]"), fmt.Sprintf("% x", password)} {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}

// unexported has secrets in unexported fields, where printers cannot call methods.
type unexported struct {
	s config.Secret[string]
	p *config.Secret[string]
	l []config.Secret[[]byte]
	m map[string]config.Secret[string]
	a [1]config.Secret[struct{ Inner string }]
	i any
	n struct{ deeper config.Secret[[]string] }
	e config.Secret[*string]
	c config.Secret[config.Secret[string]]
}

func newUnexported() unexported {
	s, text := config.NewSecret(password), password
	u := unexported{
		s: s, p: &s, l: []config.Secret[[]byte]{config.NewSecret([]byte(password))}, m: map[string]config.Secret[string]{"k": s},
		a: [1]config.Secret[struct{ Inner string }]{config.NewSecret(struct{ Inner string }{password})}, i: s, e: config.NewSecret(&text), c: config.NewSecret(s),
	}
	u.n.deeper = config.NewSecret([]string{password})
	return u
}

// TestSecretInUnexportedFields: no verb, log handler or encoding shows a secret in an unexported field.
func TestSecretInUnexportedFields(t *testing.T) {
	u := newUnexported()
	type around struct {
		U  unexported
		L  []unexported
		M  map[string]any
		up *unexported
	}
	printed := map[string]string{}
	for name, v := range map[string]any{
		"struct": u, "pointer": &u, "slice": []unexported{u}, "map": map[string]unexported{"k": u}, "any": []any{u, &u},
		"around": around{U: u, L: []unexported{u}, M: map[string]any{"k": u}, up: &u}, "error": wrapping{u},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "% x", "%q", "%d", "%c", "%U", "%b", "%o", "%e", "%t", "%p", "%T", "%z", "%10.3s"} {
			printed[name+" "+verb] = fmt.Sprintf(verb, v)
		}
		var out bytes.Buffer
		for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(handler).With("with", v).WithGroup("g").Info("x", "v", v)
		}
		printed[name+" slog"] = out.String()
		asJSON, _ := json.Marshal(v)
		asXML, _ := xml.Marshal(v)
		asYAML, _ := yamlv3.Marshal(v)
		printed[name+" encodings"] = string(asJSON) + string(asXML) + string(asYAML)
		var binary bytes.Buffer
		_ = gob.NewEncoder(&binary).Encode(v)
		printed[name+" gob"] = binary.String()
		var page bytes.Buffer
		must(t, template.Must(template.New("x").Parse(`{{.}} {{printf "%#v" .}}`)).Execute(&page, v))
		printed[name+" template"] = page.String()
	}
	for name, text := range printed {
		if leaks(text) {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// wrapping is an error whose text prints its contents.
type wrapping struct{ u unexported }

func (w wrapping) Error() string { return fmt.Sprintf("%+v", w.u) }

// TestEqualSecrets: Secrets of equal values are deeply equal. A Secret of the zero value equals the zero Secret.
func TestEqualSecrets(t *testing.T) {
	if !reflect.DeepEqual(config.NewSecret("a"), config.NewSecret("a")) || reflect.DeepEqual(config.NewSecret("a"), config.NewSecret("b")) {
		t.Error("secrets are not compared by their values")
	}
	if !reflect.DeepEqual(config.NewSecret(""), config.Secret[string]{}) || config.NewSecret[any](nil).Reveal() != nil {
		t.Error("a Secret of the zero value is not the zero Secret")
	}
}

// shielded has secrets in every container.
type shielded struct {
	L []config.Secret[string]
	S []struct {
		Pass config.Secret[string]
		Name string
	}
	M map[string]config.Secret[string]
	N map[string][]map[string]struct{ Pass config.Secret[string] }
	P *struct{ Pass *config.Secret[string] }
	G config.Secret[struct{ User, Pass string }]
	K config.Secret[map[string]int] // the keys are secret, too
	T map[string]bool               `config:"t,secret"`
	U []string                      `config:"u,secret"`
	A any                           `config:"a,secret"`
	D []string                      `default:"hunter2" config:"d,secret"`
	V []string                      // URLs
	X struct {
		In struct{ Pass string } `config:",squash,secret"`
	}
}

const shieldedText = `
l: [hunter2]
s: [{pass: hunter2, name: shown}]
m: {k: hunter2}
n: {k: [{j: {pass: hunter2}}]}
p: {pass: hunter2}
g: {user: hunter2, pass: hunter2}
k: {hunter2: 1}
t: {hunter2: true}
u: [hunter2]
a: {hunter2: [hunter2]}
v: ["postgres://u:hunter2@db/x"]
x: {pass: hunter2}
`

// TestOriginsOfContainers: no origin, dump, change or event shows a secret or an overridden secret, in any container.
func TestOriginsOfContainers(t *testing.T) {
	w := newRecorder()
	second := &live{name: "second", text: "{}"}
	o := options(yaml(shieldedText),
		config.Env("X_", []string{"X_L=hunter2", `X_S=[{"pass":"hunter2"}]`, `X_M={"k":"hunter2"}`, `X_K={"hunter2":2}`, "X_U=hunter2"}),
		config.Defaults(shielded{L: []config.Secret[string]{config.NewSecret(password)}, K: config.NewSecret(map[string]int{password: 3})}), second)
	o.Telemetry = w.Providers
	cfg, err := config.Load[shielded](t.Context(), o)
	must(t, err)
	var out strings.Builder
	must(t, cfg.Snapshot().Dump(&out))
	shown := out.String() + fmt.Sprintf("%+v", cfg.Snapshot().Origins())
	if leaks(shown) || !strings.Contains(shown, "shown") || !strings.Contains(shown, "s[") && !strings.Contains(shown, `"name":"shown"`) {
		t.Errorf("origins:\n%s", shown)
	}
	for _, path := range []string{"l", "s", "m.k", "n.k", "p.pass", "g.user", "k", "t", "u", "a", "d", "x.pass"} {
		if o, ok := cfg.Snapshot().Origin(path); !ok || !strings.Contains(o.Value, config.Redacted) {
			t.Errorf("%s: %+v", path, o)
		}
	}
	_ = w.take()
	before := cfg.Snapshot()
	second.set("k: {hunter2: 7, hunter22: 8}\nt: {hunter2: false}\na: {hunter2: 1}\nl: [other]\n", nil)
	must(t, cfg.Reload(t.Context()))
	if cfg.Snapshot() == before || !strings.Contains(w.take(), "applied") {
		t.Error("no change")
	}
	for _, e := range append(w.events, fmt.Sprint(cfg.Status())) {
		if leaks(e) {
			t.Error(e)
		}
	}
}

// TestErrorsOfSecrets: neither errors nor telemetry show a secret that is invalid, in any way.
func TestErrorsOfSecrets(t *testing.T) {
	type pin struct {
		Pin  config.Secret[int]
		Pins []config.Secret[int]
		Map  config.Secret[map[string]int]
		Keys map[string]int          `config:"keys,secret" validate:"dive,keys,max=3,endkeys,gt=0"`
		Rule []config.Secret[string] `validate:"dive,max=3"`
		In   config.Secret[struct {
			N int
			M map[string]int
		}]
		Tag []struct {
			P int `config:"p,secret"`
		}
		Text config.Secret[config.Size]
		Name string
	}
	for _, text := range []string{
		"pin: hunter2", "pins: [1, hunter2]", "map: {hunter2: x}", "map: {x: hunter2}", "map: [hunter2]", "keys: {hunter2: x}", "keys: {hunter2: 1}", "keys: {a: 0, hunter2: 0}",
		"rule: [hunter2]", "in: {n: hunter2}", "in: {m: {hunter2: hunter2}}", "in: hunter2", "tag: [{p: hunter2}]", "text: hunter2", "name: [hunter2]", "name: {hunter2: 1}",
		"name: *hunter2", "name: !hunter2 x", "name: !!int hunter2", "name: 'hunter2", `name: "hunter2\q"`, "name: &hunter2\nname: 1", "name: %hunter2", "name: `hunter2", "name: @hunter2",
		"name: hunter2: x", "name: x\nhunter2", "name: {hunter2", "- hunter2", "? [hunter2]\n: 1", "<<: hunter2", "<<: [hunter2]",
	} {
		secretIsNotShown[pin](t, yaml(text))
	}
	for _, text := range []string{`{"name": hunter2}`, `{"name": "hunter2`, `{"name": "hunter2\q"}`, `{"name": "x" "hunter2"}`, `{hunter2: 1}`, `"hunter2"`, `{"pin": "hunter2"}`} {
		secretIsNotShown[pin](t, &doc{name: "doc", format: config.JSON, text: text})
	}
	for _, text := range []string{`name = hunter2`, `name = "hunter2`, `name = "hunter2\q"`, `name = "x" hunter2`, `hunter2`, `name hunter2`, `[hunter2`, `name = 1hunter2`, "name = 'hunter2\n'", `pin = "hunter2"`} {
		secretIsNotShown[pin](t, &doc{name: "doc", format: config.TOML, text: text})
	}
	for _, variable := range []string{"X_PIN=hunter2", "X_PINS=hunter2", `X_MAP={"hunter2":"x"}`, `X_MAP={hunter2`, `X_IN={"n":"hunter2"}`, `X_TAG=[{"p":"hunter2"}]`, "X_TAG=[hunter2]", `X_KEYS={"hunter2":0}`} {
		secretIsNotShown[pin](t, config.Env("X_", []string{variable}))
	}
}

func secretIsNotShown[T any](t *testing.T, source config.Source) {
	t.Helper()
	w := newRecorder()
	o := options(config.Required(source))
	o.Telemetry = w.Providers
	_, err := config.Load[T](t.Context(), o)
	if err == nil {
		t.Errorf("%+v was accepted", source)
	}
	texts := []string{fmt.Sprintf("%v %+v %#v %q", err, err, err, err), w.take()}
	for _, span := range w.spans.Ended() {
		texts = append(texts, fmt.Sprint(span.Status(), span.Events(), span.Attributes()))
	}
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		texts = append(texts, inner.Error())
	}
	if leaks(strings.Join(texts, "\n")) {
		t.Errorf("%+v: %s", source, texts)
	}
}
