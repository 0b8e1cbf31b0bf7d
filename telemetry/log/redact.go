package log

import (
	"log/slog"
	"reflect"
	"strings"
	"sync"
)

// Redaction selects what is hidden from every sink. The zero value hides the default keys.
//
// Keys are compared without regard to case (of ASCII), "-", "_" and spaces. A key matches as a whole and by each part after a dot:
// "api_key" is also "API-Key", "apiKey" and "http.request.header.api-key". A leading star matches any prefix: "*password".
//
// A value of a type with a method Redacted() string is replaced by its result: a *url.URL is shown without its password.
//
// Pointers, interfaces, slices, arrays, and maps whose keys are strings or marshal to text are searched. Their LogValuers are resolved.
// The fields of structs are not searched: use Types, or a LogValuer.
type Redaction struct {
	// Keys whose values are hidden, besides the default ones.
	Keys []string
	// OnlyKeys leaves out the default keys: Keys alone are hidden.
	OnlyKeys bool
	// Types whose values are hidden under any key: T and *T for a listed T. Types with their own slog kind, such as string and
	// time.Duration, cannot be selected by type.
	Types []reflect.Type
	// Text replaces hidden values. Empty means "[redacted]".
	Text string
	// Off turns redaction off altogether.
	Off bool
}

// DefaultKeys returns the keys that are hidden by default, in the form of Redaction.Keys. Words that often name something harmless,
// such as "key" or "session", are not among them. Names ending in "token" do not match in general (fencing_token and page_token are
// harmless); "token" alone does, and credential tokens are listed by name.
func DefaultKeys() []string {
	return []string{
		"*password", "*passwd", "pwd", "*passphrase", "*secret", "*secret_value",
		"*api_key", "*private_key", "*secret_key", "*secret_access_key", "*signing_key", "*encryption_key",
		"token", "*access_token", "*refresh_token", "*id_token", "*auth_token", "*session_token", "*security_token",
		"*bearer_token", "*api_token", "*csrf_token", "*xsrf_token", "*vault_token", "jwt", "client_assertion",
		"authorization", "proxy_authorization", "cookie", "set_cookie", "credential", "credentials",
	}
}

// maxDepth bounds the search of groups and maps. Deeper values are hidden, because a LogValuer that returns itself in a group, and a
// map that contains itself, have no end.
const maxDepth = 10

// redactor is a compiled Redaction. It is safe for concurrent use.
type redactor struct {
	known  sync.Map    // bool by reflect.Type: whether values of the type may need redaction
	rules  [256][]rule // by the last byte of the key: most log keys end in a byte that few rules have
	types  map[reflect.Type]struct{}
	hidden slog.Value
}

// rule is one key to hide.
type rule struct {
	text     string // in the form in which keys are compared
	anyStart bool
}

func newRedactor(o *Redaction) *redactor {
	if o == nil {
		o = &Redaction{}
	}
	if o.Off {
		return nil
	}
	d := &redactor{types: make(map[reflect.Type]struct{}), hidden: slog.StringValue("[redacted]")}
	if o.Text != "" {
		d.hidden = slog.StringValue(o.Text)
	}
	keys := o.Keys
	if !o.OnlyKeys {
		keys = append(DefaultKeys(), keys...)
	}
	for _, k := range keys {
		d.addKey(k)
	}
	for _, t := range o.Types {
		if t != nil {
			d.types[t] = struct{}{}
			d.types[reflect.PointerTo(t)] = struct{}{}
		}
	}
	return d
}

func (d *redactor) addKey(key string) {
	var r rule
	key, r.anyStart = strings.CutPrefix(key, "*")
	for c, i := before(key, len(key)); i >= 0; c, i = before(key, i) {
		r.text = string([]byte{c}) + r.text
	}
	if r.text == "" {
		return // it would match every key, or none
	}
	end := r.text[len(r.text)-1]
	d.rules[end] = append(d.rules[end], r)
}

// before returns the last significant byte of key[:i], in lower case, and its position, negative if there is none.
func before(key string, i int) (byte, int) {
	for i--; i >= 0; i-- {
		switch c := key[i]; {
		case c == '-' || c == '_' || c == ' ':
		case 'A' <= c && c <= 'Z':
			return c + 'a' - 'A', i
		default:
			return c, i
		}
	}
	return 0, -1
}

// match reports whether values under this key are hidden.
func (d *redactor) match(key string) bool {
	end, i := before(key, len(key))
	if i < 0 {
		return false
	}
	for _, r := range d.rules[end] {
		if r.match(key) {
			return true
		}
	}
	return false
}

// match compares from the end, where similar keys differ first.
func (r rule) match(key string) bool {
	var c byte
	i := len(key)
	for j := len(r.text) - 1; j >= 0; j-- {
		if c, i = before(key, i); i < 0 || c != r.text[j] {
			return false
		}
	}
	if r.anyStart {
		return true
	}
	c, i = before(key, i)
	return i < 0 || c == '.'
}

// record returns the record to show to sinks: r itself when nothing in it is hidden.
func (d *redactor) record(r slog.Record, all bool) slog.Record {
	clean := true
	r.Attrs(func(a slog.Attr) bool {
		clean = d.clean(a, all, 0)
		return clean
	})
	if clean {
		return r
	}
	out := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		out.AddAttrs(d.rewrite(a, all, 0))
		return true
	})
	return out
}

// attrs returns the attributes to show to sinks, in a new slice if anything changed.
func (d *redactor) attrs(attrs []slog.Attr, all bool) []slog.Attr {
	return d.group(attrs, all, 0)
}

func (d *redactor) group(attrs []slog.Attr, all bool, depth int) []slog.Attr {
	for i := range attrs {
		if d.clean(attrs[i], all, depth) {
			continue
		}
		out := append(make([]slog.Attr, 0, len(attrs)), attrs[:i]...)
		for _, a := range attrs[i:] {
			out = append(out, d.rewrite(a, all, depth))
		}
		return out
	}
	return attrs
}

// clean reports whether the attribute can stay unchanged. A LogValuer cannot, because its result is unknown.
func (d *redactor) clean(a slog.Attr, all bool, depth int) bool {
	switch a.Value.Kind() {
	case slog.KindLogValuer:
		return false
	case slog.KindGroup:
		attrs := a.Value.Group()
		if a.Key != "" && len(attrs) > 0 && (all || d.match(a.Key)) || depth >= maxDepth {
			return false
		}
		for i := range attrs {
			if !d.clean(attrs[i], all, depth+1) {
				return false
			}
		}
		return true
	case slog.KindAny:
		if a.Equal(slog.Attr{}) {
			return true // sinks leave it out
		}
		return !all && !d.match(a.Key) && d.cleanAny(a.Value.Any(), depth)
	default:
		return !all && !d.match(a.Key)
	}
}

// rewrite returns the attribute to show to sinks. It resolves LogValuers, so that each is called once, for any number of sinks.
func (d *redactor) rewrite(a slog.Attr, all bool, depth int) slog.Attr {
	if a.Value.Kind() == slog.KindLogValuer {
		if v, ok := d.byType(a.Value.Any()); ok {
			return slog.Attr{Key: a.Key, Value: v}
		}
		a.Value = a.Value.Resolve()
	}
	if d.clean(a, all, depth) {
		return a
	}
	isGroup := a.Value.Kind() == slog.KindGroup
	switch {
	case depth >= maxDepth, all && !(isGroup && a.Key == ""), d.match(a.Key):
		a.Value = d.hidden
	case isGroup:
		a.Value = slog.GroupValue(d.group(a.Value.Group(), all, depth+1)...)
	default:
		a.Value = d.rewriteAny(a.Value.Any(), depth)
	}
	return a
}
