package config

import (
	"context"
	"flag"
	"fmt"
	"reflect"
	"strings"

	"github.com/go-os/go-os/control/config/driver"
)

// Env returns the variables of an environment, usually os.Environ(), whose names begin with a prefix such as "SHOP_". The key
// db.max_conns is set by SHOP_DB_MAX_CONNS. A list is written with commas or as JSON, a map as a JSON object. Load returns
// ErrInvalid if one variable would set two keys. A variable that begins with the prefix and sets no key is a warning: Kubernetes
// sets SHOP_SERVICE_HOST for a service that is called shop.
func Env(prefix string, environ []string) Source {
	return &envSource{prefix: prefix, environ: environ}
}

type envSource struct {
	prefix  string
	environ []string
	keys    map[string]key
}

func (e *envSource) Name() string { return "environment" }

func (e *envSource) bind(keys []key) (Source, error) {
	e = &envSource{prefix: e.prefix, environ: e.environ, keys: make(map[string]key, len(keys))}
	for _, k := range keys {
		name := e.prefix + strings.ToUpper(strings.Join(k.path, "_"))
		if other, ok := e.keys[name]; ok {
			return nil, fmt.Errorf("%w: %s would set both %s and %s: rename one of them", ErrInvalid, name, pathText(other.path), pathText(k.path))
		}
		e.keys[name] = k
	}
	return e, nil
}

func (e *envSource) Read(context.Context) (docs []driver.Document, _ error) {
	for _, variable := range e.environ {
		name, value, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, e.prefix) {
			continue
		}
		tree := map[string]any{}
		if k, ok := e.keys[name]; ok {
			put(tree, k, value)
		} else if e.prefix == "" {
			continue
		} else {
			tree[name] = text(value) // to be reported as unknown
		}
		docs = append(docs, driver.Document{Name: "$" + name, Tree: tree})
	}
	return docs, nil
}

func pathText(parts []string) (path string) {
	for _, part := range parts {
		path = join(path, part)
	}
	return path
}

// put sets a key to a text. An object is taken apart, so that it is merged with what other sources have in the map.
func put(tree map[string]any, k key, value string) {
	at := tree
	for _, part := range k.path[:len(k.path)-1] {
		inner := map[string]any{}
		at[part] = inner
		at = inner
	}
	last := k.path[len(k.path)-1]
	at[last] = text(value)
	if shapeOf(k.typ) == table {
		if group, err := structureFrom(value, reflect.TypeFor[map[string]any]()); err == nil {
			at[last] = group
		}
	}
}

// Flags returns those flags of a set that were given on the command line, once it has been parsed. The key db.max_conns is set by
// the flag -db.max-conns, -db.max_conns or -db-max-conns; other flags are none of its business. Values are written as those of
// Env.
func Flags(set *flag.FlagSet) Source { return &flagSource{set: set} }

type flagSource struct {
	set  *flag.FlagSet
	keys map[string]key
}

func (f *flagSource) Name() string { return "flags" }

func (f *flagSource) bind(keys []key) (Source, error) {
	f = &flagSource{set: f.set, keys: map[string]key{}}
	for _, k := range keys {
		dotted := strings.Join(k.path, ".")
		for _, name := range []string{dotted, strings.ReplaceAll(dotted, "_", "-"), strings.NewReplacer(".", "-", "_", "-").Replace(dotted)} {
			if other, ok := f.keys[name]; ok && pathText(other.path) != pathText(k.path) && f.set.Lookup(name) != nil {
				return nil, fmt.Errorf("%w: -%s would set both %s and %s: name the flag with dots", ErrInvalid, name, pathText(other.path), pathText(k.path))
			}
			f.keys[name] = k
		}
	}
	return f, nil
}

func (f *flagSource) Read(context.Context) (docs []driver.Document, err error) {
	if !f.set.Parsed() {
		return nil, fmt.Errorf("%w: the flags have not been parsed: call Parse before Load", ErrInvalid)
	}
	f.set.Visit(func(one *flag.Flag) {
		if k, ok := f.keys[one.Name]; ok {
			tree := map[string]any{}
			put(tree, k, one.Value.String())
			docs = append(docs, driver.Document{Name: "-" + one.Name, Tree: tree})
		}
	})
	return docs, nil
}
