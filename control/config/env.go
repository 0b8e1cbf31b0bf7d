package config

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/control/config/internal/document"
)

// Env returns the variables of an environment, usually os.Environ(), whose names begin with a prefix such as "SHOP_".
//
// SHOP_DB_MAX_CONNS sets the key db.max_conns or db.max-conns: in a variable, every character but letters and digits is an underscore. A
// list is written with commas or as JSON. A map or a struct is a JSON object, which is merged with other sources; SHOP_DB_MAX_CONNS
// overrides SHOP_DB. An empty variable is an empty text or list, and an error for any other type.
//
// Load returns ErrInvalid if one variable would set two keys, or if a value is invalid. A variable with the prefix that sets no key is a
// warning, since Kubernetes sets SHOP_SERVICE_HOST for a service called shop.
func Env(prefix string, environ []string) Source {
	return &envSource{prefix: prefix, environ: environ}
}

type envSource struct {
	prefix  string
	environ []string
	keys    map[string]driver.Key
}

func (e *envSource) Name() string { return "environment" }

// Fixed implements driver.Fixed: the variables of a process do not change.
func (*envSource) Fixed() {}

// Bind implements driver.Keyed. It returns the source with a variable for each key.
func (e *envSource) Bind(keys []driver.Key) (Source, error) {
	e = &envSource{prefix: e.prefix, environ: e.environ, keys: make(map[string]driver.Key, len(keys))}
	for _, k := range keys {
		name := e.prefix + variable(k)
		if other, ok := e.keys[name]; ok {
			return nil, fmt.Errorf("%w: %s would set both %s and %s: rename one of them", ErrInvalid, name, pathText(other.Path), pathText(k.Path))
		}
		e.keys[name] = k
	}
	return e, nil
}

// Suggest implements driver.Suggester. It returns the variable that is most similar to an unknown one, or nothing.
func (e *envSource) Suggest(name string) string {
	var known []string
	for _, one := range slices.Sorted(maps.Keys(e.keys)) {
		known = append(known, strings.TrimPrefix(one, e.prefix))
	}
	if meant := document.Nearest(strings.TrimPrefix(name, e.prefix), known); meant != "" {
		return e.prefix + meant
	}
	return ""
}

// variable returns the name of the variable for a key, without the prefix.
func variable(k driver.Key) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToUpper(r)
		}
		return '_'
	}, strings.Join(k.Path, "_"))
}

func (e *envSource) Read(context.Context) ([]driver.Document, error) {
	var set settings
	for _, assignment := range e.environ {
		name, value, _ := strings.Cut(assignment, "=")
		if !strings.HasPrefix(name, e.prefix) {
			continue
		}
		if k, ok := e.keys[name]; ok {
			set.add("$"+name, k, driver.Text(value))
		} else if e.prefix != "" { // reported as unknown
			set.add("$"+name, driver.Key{Path: []string{name}, Type: reflect.TypeFor[string]()}, driver.Text(value))
		}
	}
	return set.documents(), nil
}

// settings are keys that a source sets one by one, each as a document.
type settings []one

type one struct {
	key driver.Key
	doc driver.Document
}

func (s *settings) add(name string, k driver.Key, value any) {
	tree := map[string]any{}
	put(tree, k, value)
	*s = append(*s, one{k, driver.Document{Name: name, Tree: tree}})
}

// documents returns the settings in order. The setting of a group precedes the settings of its keys.
func (s settings) documents() (docs []driver.Document) {
	slices.SortStableFunc(s, func(a, b one) int { return cmp.Compare(len(a.key.Path), len(b.key.Path)) })
	for _, one := range s {
		docs = append(docs, one.doc)
	}
	return docs
}

func pathText(parts []string) (path string) {
	for _, part := range parts {
		path = document.JoinKey(path, part)
	}
	return path
}

// put sets a key.
func put(tree map[string]any, k driver.Key, value any) {
	for _, part := range k.Path[:len(k.Path)-1] {
		inner := map[string]any{}
		tree[part] = inner
		tree = inner
	}
	tree[k.Path[len(k.Path)-1]] = value
}

// Flags returns a source with the flags of a parsed set that were given on the command line. The flags -db.max-conns, -db.max_conns and
// -db-max-conns set the key db.max_conns. Flags that match no key are ignored.
//
// The value is the String of the flag, written as for Env. A flag.Value for a list, a map or a struct can return it from Get (flag.Getter)
// instead. A flag.Func has no value: if its name is that of a key, Load returns ErrInvalid. Load also returns ErrInvalid if the set is nil
// or not parsed.
func Flags(set *flag.FlagSet) Source { return &flagSource{set: set} }

type flagSource struct {
	set  *flag.FlagSet
	keys map[string]driver.Key
}

func (f *flagSource) Name() string { return "flags" }

// Fixed implements driver.Fixed: the flags of a process do not change.
func (*flagSource) Fixed() {}

// Bind implements driver.Keyed. It returns the source with the names of flags for each key.
func (f *flagSource) Bind(keys []driver.Key) (Source, error) {
	f = &flagSource{set: f.set, keys: map[string]driver.Key{}}
	if f.set == nil {
		return f, nil // Read reports it
	}
	for _, k := range keys {
		dotted := strings.Join(k.Path, ".")
		for _, name := range []string{dotted, strings.ReplaceAll(dotted, "_", "-"), strings.NewReplacer(".", "-", "_", "-").Replace(dotted)} {
			if other, ok := f.keys[name]; ok && pathText(other.Path) != pathText(k.Path) && f.set.Lookup(name) != nil {
				return nil, fmt.Errorf("%w: -%s would set both %s and %s: name the flag with dots", ErrInvalid, name, pathText(other.Path), pathText(k.Path))
			}
			f.keys[name] = k
		}
	}
	return f, nil
}

func (f *flagSource) Read(context.Context) ([]driver.Document, error) {
	if f.set == nil {
		return nil, fmt.Errorf("%w: the FlagSet of Flags is nil: pass flag.CommandLine or another set", ErrInvalid)
	}
	if !f.set.Parsed() {
		return nil, fmt.Errorf("%w: the flags have not been parsed: call Parse before Load", ErrInvalid)
	}
	var set settings
	var errs []error
	f.set.Visit(func(given *flag.Flag) {
		k, ok := f.keys[given.Name]
		if !ok {
			return
		}
		value, err := flagValue(given.Value, k.Type)
		if err != nil {
			errs = append(errs, &Error{Document: "-" + given.Name, Key: pathText(k.Path), Err: err})
			return
		}
		set.add("-"+given.Name, k, value)
	})
	return set.documents(), errors.Join(errs...)
}

// flagValue returns the value of a flag, or an error if the flag.Value does not provide it.
func flagValue(v flag.Value, t reflect.Type) (any, error) {
	getter, hasGet := v.(flag.Getter)
	if hasGet && !document.IsScalar(t) {
		got := reflect.ValueOf(getter.Get())
		switch reflect.Indirect(got).Kind() {
		case reflect.Slice, reflect.Array, reflect.Map, reflect.Struct:
			return document.ValueOf(got), nil
		}
	}
	s := v.String()
	if s == "" && !hasGet {
		return nil, fmt.Errorf("%w: the flag does not keep its value, like those of flag.Func: use a flag.Value whose String or Get returns it", ErrInvalid)
	}
	return driver.Text(s), nil
}
