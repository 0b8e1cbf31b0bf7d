// Package engine opens the engine of a URL on the command line. The library has no URLs: a program chooses its drivers in main, and these
// programs let the user choose.
//
//	e, err := engine.Open(ctx, "etcd://127.0.0.1:2379?namespace=prod/shop", engine.Options{Flag: "-kv", Schemes: []string{"memory", "etcd"}})
//	if err != nil { … }
//	defer e.Close()
//
// URLs have these forms:
//
//	memory
//	bolt:///path/of/a/file
//	etcd://user:password@host:port,host:port
//	consul://:token@host:port
//	redis://user:password@host:port/database
//	nats://user:password@host:port/bucket
//
// Catalog opens catalog://:token@host:port, which is Consul's own catalog of services.
//
// The schemes etcds, consuls, catalogs and rediss encrypt the connection. The server's certificate must be signed by an authority of the system, or
// by one in the PEM file of ?ca=. ?cert= and ?key= are the files of a client certificate and its key.
//
// ?namespace=prod/shop opens the part of the engine whose keys begin with prod/shop/. See kv.Store.Namespace.
//
// No error shows a password or a token. An error names an engine by scheme, host and path. A parameter or a part of a URL without a meaning
// is an error.
package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-os/go-os/state/kv"
)

// ErrURL means that a URL names no engine, or one that the command cannot use.
var ErrURL = errors.New("no such engine")

// ErrNoFile means that a bolt file that must exist does not.
var ErrNoFile = errors.New("no such file")

// DefaultWithin is how long an engine may take to answer when it is opened.
const DefaultWithin = 5 * time.Second

// Options configure Open.
type Options struct {
	// Flag that the URL came from, such as "-kv", for errors. Required.
	Flag string
	// Schemes that the command takes, such as "etcd", which includes "etcds". Required.
	Schemes []string
	// Existing makes Open return ErrNoFile if a bolt file does not exist. Default: the file is created.
	Existing bool
	// Within is how long the engine may take to answer. Default: DefaultWithin.
	Within time.Duration
	// Store configures the kv.Store.
	Store kv.Options
}

// Engine is a store and the client behind it.
type Engine struct {
	*kv.Store              // in the namespace of the URL
	all       *kv.Store    // without a namespace
	client    func() error // closes the client
}

// Open opens the store of a URL, and returns when its engine has answered. It returns ErrURL if the command cannot use the URL, and
// ErrNoFile if Options.Existing is set and the file is missing. If the engine does not answer, it returns kv.ErrUnavailable or the error of
// ctx.
func Open(ctx context.Context, where string, o Options) (*Engine, error) {
	u, err := parse(where, o.Flag, o.Schemes)
	if err != nil {
		return nil, err
	}
	if o.Within <= 0 {
		o.Within = DefaultWithin
	}
	ctx, cancel := context.WithTimeout(ctx, o.Within)
	defer cancel()
	namespace, err := u.namespace()
	if err != nil {
		return nil, u.refuse(o.Flag, err)
	}
	d, client, err := dial(ctx, u, o)
	if err != nil {
		return nil, u.refuse(o.Flag, err)
	}
	all := kv.New(d, &o.Store)
	e := &Engine{Store: all, all: all, client: client}
	if namespace != "" {
		e.Store = all.Namespace(namespace)
	}
	if err := e.Ping(ctx); err != nil {
		return nil, u.refuse(o.Flag, errors.Join(&silent{err}, e.Close()))
	}
	return e, nil
}

// silent is the error of an engine that did not answer.
type silent struct{ error }

// Unwrap returns the cause.
func (s *silent) Unwrap() error { return s.error }

// refuse adds the flag and the engine to an error, and a remedy if the engine does not answer.
func (a *address) refuse(flag string, err error) error {
	if _, unanswered := errors.AsType[*silent](err); unanswered {
		return a.hide(fmt.Errorf("%s %s does not answer: is it running there? %w", flag, a, err))
	}
	return a.hide(fmt.Errorf("%s %s: %w", flag, a, err))
}

// Close closes the store, then its client.
func (e *Engine) Close() error { return errors.Join(e.all.Close(), e.client()) }

// forms returns examples of URLs for the schemes.
func forms(schemes []string) string {
	known := map[string]string{
		"memory":   "memory",
		"bolt":     "bolt:///path/of/a/file",
		"etcd":     "etcd://host:port",
		"consul":   "consul://host:port",
		"redis":    "redis://host:port",
		"nats":     "nats://host:port",
		"postgres": "postgres://user@host:port/database",
		"catalog":  "catalog://host:port",
		"dns":      "dns://host:port/domain?protocol=port",
	}
	var all []string
	for _, scheme := range schemes {
		all = append(all, known[scheme])
	}
	if len(all) < 2 {
		return strings.Join(all, "")
	}
	last := len(all) - 1
	return strings.Join(all[:last], ", ") + " or " + all[last]
}

// takes reports whether a command accepts a scheme.
func takes(schemes []string, scheme string) bool {
	plain := strings.TrimSuffix(scheme, "s")
	return slices.Contains(schemes, scheme) || encrypts(plain) && slices.Contains(schemes, plain)
}

// encrypts reports whether a scheme has a form with TLS, which ends in "s".
func encrypts(scheme string) bool {
	return scheme == "etcd" || scheme == "consul" || scheme == "redis" || scheme == "catalog"
}
