// Package engine opens the engine that a URL on the command line names. An application chooses its engines in main; the library does
// not know of URLs.
//
//	memory
//	bolt:///path/of/a/file
//	etcd://user:password@host:port,host:port
//	consul://:token@host:port
//	redis://user:password@host:port/database
//
// With etcds, consuls and rediss the connection is encrypted: the server's certificate must be signed by one of the system's authorities,
// or by one in the file that ?ca= names. ?cert= and ?key= name the files of a client's own certificate.
//
// Credentials are used, and are in no error: an error names an engine by scheme, host and path.
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

// ErrURL says that a URL names no engine, or one that the command cannot use.
var ErrURL = errors.New("no such engine")

// ErrNoFile says that a bolt file does not exist, and must.
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
	*kv.Store
	client func() error // closes it
}

// Open opens the store that a URL names and returns once its engine has answered. It returns ErrURL if the command has no such engine,
// ErrNoFile if Options.Existing is not met, and kv.ErrUnavailable or the end of the context if the engine does not answer.
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
	d, client, err := dial(ctx, u, o)
	if err != nil {
		return nil, u.refuse(o.Flag, err)
	}
	e := &Engine{Store: kv.New(d, &o.Store), client: client}
	if err := e.Ping(ctx); err != nil {
		return nil, u.refuse(o.Flag, errors.Join(&silent{err}, e.Close()))
	}
	return e, nil
}

// silent is the error of an engine that did not answer.
type silent struct{ error }

// Unwrap returns the cause.
func (s *silent) Unwrap() error { return s.error }

// refuse names the engine in an error, and says what to look at.
func (a *address) refuse(flag string, err error) error {
	if _, unanswered := errors.AsType[*silent](err); unanswered {
		return a.hide(fmt.Errorf("%s %s does not answer: is it running there? %w", flag, a, err))
	}
	return a.hide(fmt.Errorf("%s %s: %w", flag, a, err))
}

// Close closes the store, then its client.
func (e *Engine) Close() error { return errors.Join(e.Store.Close(), e.client()) }

// forms are how URLs of the schemes look, for messages.
func forms(schemes []string) string {
	known := map[string]string{
		"memory":   "memory",
		"bolt":     "bolt:///path/of/a/file",
		"etcd":     "etcd://host:port",
		"consul":   "consul://host:port",
		"redis":    "redis://host:port",
		"postgres": "postgres://user@host:port/database",
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

// takes reports whether a scheme is among those of a command.
func takes(schemes []string, scheme string) bool {
	plain := strings.TrimSuffix(scheme, "s")
	return slices.Contains(schemes, scheme) || encrypts(plain) && slices.Contains(schemes, plain)
}

// encrypts reports whether a scheme has a form with TLS, which ends in s.
func encrypts(scheme string) bool { return scheme == "etcd" || scheme == "consul" || scheme == "redis" }
