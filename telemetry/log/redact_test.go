package log

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

type pin string

// textKey is a key of a map that encoders write as text.
type textKey struct{ text string }

func (k textKey) MarshalText() ([]byte, error) { return []byte(k.text), nil }

// lazy is a LogValuer that counts its calls.
type lazy struct {
	v     slog.Value
	asked *int
}

func (l lazy) LogValue() slog.Value {
	if l.asked != nil {
		*l.asked++
	}
	return l.v
}

// endless is a LogValuer that returns itself without end.
type endless struct{}

func (endless) LogValue() slog.Value {
	return slog.GroupValue(slog.String("password", secret), slog.Any("again", endless{}))
}

// shy has a Redacted method, which panics on a nil pointer.
type shy struct{ name string }

func (s *shy) Redacted() string { return s.name[:1] + "…" }

const secret = "hunter2"

func TestRedactedKeys(t *testing.T) {
	d := newRedactor(&Redaction{Keys: []string{"X-Tenant", "user.email", "*_pin", "", "*"}})
	for _, key := range []string{
		"password", "Password", "PASSWORD", "db_password", "userPassword", "db.password", "passwd", "client_secret", "clientSecret",
		"token", "access_token", "refresh-token", "ID_TOKEN", "authorization", "Authorization", "Proxy-Authorization", "cookie",
		"Set-Cookie", "api_key", "apikey", "apiKey", "X-API-Key", "private_key", "http.request.header.authorization",
		"http.response.header.set-cookie", "aws_secret_access_key", "x-tenant", "xtenant", "user.email", "User.E_mail", "card_pin",
		strings.Repeat("long", 40) + "_password",
	} {
		if !d.match(key) {
			t.Errorf("%q is not hidden", key)
		}
	}
	for _, key := range []string{
		"", "key", "tokens", "next_page_token", "fencing_token", "passwordless", "secretary", "email", "user_email", "cookies_accepted",
		"session", "pinned", "authority", "http.route", ".", "-",
	} {
		if d.match(key) {
			t.Errorf("%q is hidden", key)
		}
	}
	for _, key := range DefaultKeys() {
		if !newRedactor(nil).match(strings.TrimPrefix(key, "*")) {
			t.Errorf("the default key %q is not hidden", key)
		}
	}
	if only := newRedactor(&Redaction{Keys: []string{"x"}, OnlyKeys: true}); only.match("password") || !only.match("x") {
		t.Error("OnlyKeys does not replace the default keys")
	}
	if newRedactor(&Redaction{Off: true}) != nil {
		t.Error("Off is not off")
	}
}

// TestNothingHiddenGetsOut puts the secret wherever attributes can be, and searches the output of the sinks for
// it.
func TestNothingHiddenGetsOut(t *testing.T) {
	var asked int
	secretGroup := slog.GroupValue(slog.String("user", "ann"), slog.String("password", secret))
	for name, write := range map[string]func(*slog.Logger){
		"attribute":           func(l *slog.Logger) { l.Info("x", "password", secret) },
		"not a string":        func(l *slog.Logger) { l.Info("x", "password", []byte(secret)) },
		"group":               func(l *slog.Logger) { l.Info("x", slog.Group("g", slog.Group("h", "password", secret))) },
		"inline group":        func(l *slog.Logger) { l.Info("x", slog.Group("", "password", secret)) },
		"hidden group":        func(l *slog.Logger) { l.Info("x", slog.Group("credentials", "a", secret)) },
		"With":                func(l *slog.Logger) { l.With("password", secret).Info("x") },
		"With in a group":     func(l *slog.Logger) { l.WithGroup("g").With("a", 1, "password", secret).Info("x") },
		"With of a group":     func(l *slog.Logger) { l.With(slog.Group("g", "password", secret)).Info("x") },
		"WithGroup, hidden":   func(l *slog.Logger) { l.WithGroup("secret").With("a", secret).Info("x", "b", secret) },
		"deep in a WithGroup": func(l *slog.Logger) { l.WithGroup("secret").WithGroup("g").Info("x", slog.Group("", "b", secret)) },
		"renamed":             func(l *slog.Logger) { Named(l.With("password", secret), "n").Info("x") },
		"LogValuer":           func(l *slog.Logger) { l.Info("x", "g", lazy{v: secretGroup, asked: &asked}) },
		"LogValuer in With":   func(l *slog.Logger) { l.With("g", lazy{v: secretGroup}).Info("x") },
		"LogValuer, hidden":   func(l *slog.Logger) { l.Info("x", "password", lazy{v: slog.StringValue(secret)}) },
		"LogValuers, nested": func(l *slog.Logger) {
			l.Info("x", "g", lazy{v: slog.GroupValue(slog.Any("h", lazy{v: secretGroup}))})
		},
		"LogValuer, endless": func(l *slog.Logger) { l.Info("x", "g", endless{}) },
		"many attributes":    func(l *slog.Logger) { l.Info("x", "a", 1, "b", 2, "c", 3, "d", 4, "e", 5, "f", 6, "password", secret) },
		"header":             func(l *slog.Logger) { l.Info("x", "headers", http.Header{"Authorization": {secret}, "Accept": {"a"}}) },
		"form":               func(l *slog.Logger) { l.Info("x", "form", url.Values{"password": {secret}}) },
		"map":                func(l *slog.Logger) { l.Info("x", "m", map[string]any{"deep": map[string]string{"password": secret}}) },
		"map with LogValuer": func(l *slog.Logger) { l.Info("x", "m", map[string]any{"g": lazy{v: secretGroup}}) },
		"pointer to a map":   func(l *slog.Logger) { l.Info("x", "m", &map[string]any{"password": secret}) },
		"pointer in a map": func(l *slog.Logger) {
			p := &http.Header{"Authorization": {secret}}
			l.Info("x", "m", map[string]any{"deep": &p})
		},
		"pointer to a hidden": func(l *slog.Logger) { l.Info("x", "m", &map[string]any{"code": pin(secret)}) },
		"map of a type":       func(l *slog.Logger) { l.Info("x", "m", map[pin]pin{"password": secret}) },
		"type":                func(l *slog.Logger) { l.Info("x", "code", pin(secret)) },
		"pointer to type":     func(l *slog.Logger) { p := pin(secret); l.Info("x", "code", &p) },
		"type in a map":       func(l *slog.Logger) { l.Info("x", "m", map[string]any{"code": pin(secret)}) },
		"type in a LogValuer": func(l *slog.Logger) { l.Info("x", "g", lazy{v: slog.AnyValue(pin(secret))}) },
		"LogValuer of a type": func(l *slog.Logger) { l.Info("x", "g", hiddenValuer{}) },
		"Redacted":            func(l *slog.Logger) { l.Info("x", "who", &shy{secret}) },
		"Redacted, nil":       func(l *slog.Logger) { l.Info("x", "who", (*shy)(nil)) },
		"pointer to any":      func(l *slog.Logger) { var v any = map[string]any{"password": secret}; l.Info("x", "m", &v) },
		"any in any": func(l *slog.Logger) {
			var v any = map[string]any{"password": secret}
			var w any = &v
			l.Info("x", "m", map[string]any{"w": &w})
		},
		"text keys":     func(l *slog.Logger) { l.Info("x", "m", map[textKey]string{{"password"}: secret}) },
		"keys of any":   func(l *slog.Logger) { l.Info("x", "m", map[any]any{"password": secret, 1: 2}) },
		"Attr":          func(l *slog.Logger) { l.Info("x", "a", any(slog.String("password", secret)), "b", 1) },
		"Attr in a map": func(l *slog.Logger) { l.Info("x", "m", map[string]any{"a": slog.String("password", secret)}) },
		"Attrs in a map": func(l *slog.Logger) {
			l.Info("x", "m", map[string]any{"a": []slog.Attr{slog.String("password", secret)}})
		},
		"Value in a map":  func(l *slog.Logger) { l.Info("x", "m", map[string]slog.Value{"a": secretGroup}) },
		"Value in a list": func(l *slog.Logger) { l.Info("x", "m", []slog.Value{secretGroup}) },
		"list of maps":    func(l *slog.Logger) { l.Info("x", "m", []any{1, map[string]any{"password": secret}}) },
		"list in a map": func(l *slog.Logger) {
			l.Info("x", "m", map[string]any{"users": []map[string]string{{"password": secret}}})
		},
		"list of a type":     func(l *slog.Logger) { l.Info("x", "m", []pin{secret}) },
		"array of pointers":  func(l *slog.Logger) { p := pin(secret); l.Info("x", "m", [1]*pin{&p}) },
		"list of LogValuers": func(l *slog.Logger) { l.Info("x", "m", []lazy{{v: secretGroup}}) },
		"list of Redacted":   func(l *slog.Logger) { l.Info("x", "m", []*shy{{secret}, nil}) },
		"map of lists":       func(l *slog.Logger) { l.Info("x", "m", map[int][]any{1: {map[string]any{"password": secret}}}) },
		"URL":                func(l *slog.Logger) { l.Info("x", "db", &url.URL{Host: "h", User: url.UserPassword("ann", secret)}) },
	} {
		var a, b buffer
		l := New(&Options{Redact: &Redaction{Types: []reflect.Type{reflect.TypeFor[pin](), reflect.TypeFor[hiddenValuer](), nil}}}, JSON(&a, nil), Text(&b, nil))
		write(l)
		for sink, out := range map[string]string{"json": a.String(), "text": b.String()} {
			if strings.Contains(out, secret) || strings.Contains(out, "aHVudGVyMg") || !strings.Contains(out, "x") {
				t.Errorf("%s: %s got %s", name, sink, out)
			}
		}
	}
	if asked != 1 {
		t.Errorf("a LogValuer was asked %d times, want once for all sinks", asked)
	}
}

// hiddenValuer is hidden by type, although it has a LogValue of its own.
type hiddenValuer struct{}

func (hiddenValuer) LogValue() slog.Value { return slog.StringValue(secret) }

func TestRedactionLeavesTheRestAlone(t *testing.T) {
	var out buffer
	l := New(&Options{Redact: &Redaction{Text: "***"}}, JSON(&out, nil))
	l.WithGroup("g").With("a", 1).Info("x", "password", secret, "b", 2, "h", http.Header{"Cookie": {"c"}, "Accept": {"a"}},
		"u", &url.URL{Host: "h", User: url.UserPassword("ann", secret)}, slog.Group("empty"), "", nil,
		"m", map[string]any{"g": lazy{v: slog.GroupValue(slog.Int("n", 1), slog.String("token", secret))}})
	want := `map[a:1 b:2 h:map[Accept:[a] Cookie:***] m:map[g:map[n:1 token:***]] password:*** u://ann:xxxxx@h]`
	if got := fmt.Sprint(line(t, out.String())["g"]); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestRedactionDoesNotTouchTheCallersValues(t *testing.T) {
	l := New(nil, JSON(&buffer{}, nil))
	header := http.Header{"Cookie": {"c"}}
	group := []slog.Attr{slog.String("a", "1"), slog.String("password", secret)}
	l.Info("x", "h", header, slog.Attr{Key: "g", Value: slog.GroupValue(group...)})
	l.With(slog.Attr{Key: "g", Value: slog.GroupValue(group...)}).Info("x")
	if header.Get("Cookie") != "c" || group[1].Value.String() != secret {
		t.Error("redaction changed what the caller passed")
	}
}

func TestAMapThatHoldsItself(t *testing.T) {
	loop := map[string]any{"a": 1}
	loop["again"] = loop
	var got slog.Record
	l := New(nil, handlerFunc(func(_ context.Context, r slog.Record) error { got = r; return nil }))
	l.Info("x", "m", loop)
	got.Attrs(func(a slog.Attr) bool {
		if s := fmt.Sprint(a.Value.Any()); !strings.HasPrefix(s, "map[a:1 again:map[a:1 again:") || !strings.Contains(s, "[redacted]") {
			t.Errorf("got %s", s)
		}
		return true
	})
}

// Types without a value to reach: a nil pointer to a map, and a pointer that points to its own type.
func TestPointersThatLeadNowhere(t *testing.T) {
	type circle *circle
	var c circle
	c = &c
	var none *map[string]any
	seen := 0
	l := New(nil, handlerFunc(func(_ context.Context, r slog.Record) error { seen += r.NumAttrs(); return nil }))
	l.Info("x", "circle", c, "none", none, "nones", &none)
	if seen != 3 {
		t.Errorf("%d attributes have come through, want 3", seen)
	}
}

func TestRedactionOff(t *testing.T) {
	var out buffer
	New(&Options{Redact: &Redaction{Off: true}}, JSON(&out, nil)).Info("x", "password", secret)
	if line(t, out.String())["password"] != secret {
		t.Errorf("got %s", out.String())
	}
}

func FuzzRedactedKey(f *testing.F) {
	for _, key := range []string{"password", "X-Api-Key", "a.b.c", "", "…", "pass word"} {
		f.Add(key)
	}
	d := newRedactor(nil)
	f.Fuzz(func(t *testing.T, key string) {
		// Neither case, nor separators, nor a prefix before the last dot may let a key through.
		if d.match(key) && !d.match("a."+strings.ReplaceAll(key, "_", "-")) {
			t.Errorf("%q is hidden, but not as the last part of a longer key", key)
		}
		if !d.match(key + "_Password") {
			t.Errorf("%q_Password is not hidden", key)
		}
	})
}
