package versions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/control/config/internal/document"
	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/state/kv"
)

// KeyOptions configure Key.
type KeyOptions struct {
	// Format of the value: "yaml", "json" or "toml". Default: by the extension of the key, as for files.
	Format string
	// Optional makes a missing key a configuration without keys. Default: a missing key is a problem, and its last value stays in force.
	Optional bool
}

// Key returns a source with the document at one key of a store. If the store has the ability kv.Watch, changes take effect at once. Otherwise the
// key is read every config.Options.Recheck. Load returns ErrInvalid if the store is nil, if the key is empty, or if the format is none of the
// three.
func Key(store *kv.Store, key string, opts *KeyOptions) config.Source {
	given := defaults.Copy(opts)
	return &keySource{store: store, key: key, format: cmp.Or(given.Format, document.FormatOf(key)), optional: given.Optional}
}

type keySource struct {
	store    *kv.Store
	key      string
	format   string
	optional bool
}

func (k *keySource) Name() string { return "key " + k.key }

func (k *keySource) Read(ctx context.Context) ([]driver.Document, error) {
	if k.store == nil {
		return nil, errNoStore("Key")
	}
	if err := document.CheckFormat(k.format, "set KeyOptions.Format"); err != nil {
		return nil, err
	}
	found, err := k.store.Get(ctx, k.key)
	switch {
	case err == nil:
		return []driver.Document{{Name: k.key, Format: k.format, Data: append([]byte{}, found.Value...)}}, nil
	case errors.Is(err, kv.ErrNotFound) && k.optional:
		return nil, nil
	}
	return nil, storeError(err)
}

func (k *keySource) Watch(ctx context.Context, changed func(error)) error {
	return watchKey(ctx, k.store, k.key, changed)
}

// errNoStore returns ErrInvalid for a function that was given no store.
func errNoStore(function string) error {
	return fmt.Errorf("%w: the store of versions.%s is nil: pass a store of kv.New", config.ErrInvalid, function)
}

// storeError reports a closed store as unavailable. The other errors of package kv are also errors of package config.
func storeError(err error) error {
	if errors.Is(err, kv.ErrClosed) {
		return fmt.Errorf("%w: %w", config.ErrUnavailable, err)
	}
	return err
}

// watchKey calls changed when a key changes, and when the connection is lost or restored.
func watchKey(ctx context.Context, store *kv.Store, key string, changed func(error)) error {
	if err := store.Require(kv.Watch); err != nil {
		<-ctx.Done() // Options.Recheck applies
		return nil
	}
	synced := false // a snapshot is reported as a whole at its end
	for event, err := range store.Watch(ctx, key) {
		if err != nil {
			return err // Run reports it as unavailable
		}
		switch event.Kind {
		case kv.EventLost:
			synced = false
			changed(errors.New("the connection to the store is lost"))
		case kv.EventResync:
			synced = false
		case kv.EventSynced:
			synced = true
			changed(nil)
		case kv.EventPut, kv.EventDelete:
			if synced {
				changed(nil)
			}
		}
	}
	return nil
}

// PublishedOptions configure Published.
type PublishedOptions struct {
	// Layers of the store, as given to New or returned by Namespace.Layers. Later layers override earlier ones. Required.
	Layers []string
	// Instance is the unique name of the instance, such as its host or pod. It determines whether the instance takes the candidate of a
	// rollout. Run reports the version of the instance under this name. Default: none; then the instance takes only versions that are in
	// force for all, and reports nothing.
	Instance string
}

// Published returns a source with the published documents of the layers of a store. A layer without a published document has no keys. Load
// returns ErrInvalid if the store is nil, if there are no layers, or if a layer is empty or there twice.
func Published(store *kv.Store, opts *PublishedOptions) config.Source {
	given := defaults.Copy(opts)
	p := &publishedSource{instance: given.Instance, invalid: checkLayers(given.Layers)}
	if store == nil {
		p.invalid = errNoStore("Published")
	}
	if p.invalid != nil {
		return p
	}
	for _, name := range given.Layers {
		p.layers = append(p.layers, &layerReader{name: name, log: &versionLog{store: store.Namespace(name)}})
	}
	return p
}

// checkLayers returns ErrInvalid if there are no layers, or if one is empty or there twice.
func checkLayers(layers []string) error {
	if len(layers) == 0 {
		return fmt.Errorf("%w: PublishedOptions.Layers is empty", config.ErrInvalid)
	}
	for i, name := range layers {
		if name == "" {
			return fmt.Errorf("%w: PublishedOptions.Layers[%d] is empty: name a layer", config.ErrInvalid, i)
		}
		if first := slices.Index(layers, name); first < i {
			return fmt.Errorf("%w: PublishedOptions.Layers has %q twice: remove one", config.ErrInvalid, name)
		}
	}
	return nil
}

type publishedSource struct {
	layers   []*layerReader
	instance string
	invalid  error // why the source can never work
}

// layerReader reads one layer. It caches the version in force, since versions never change.
type layerReader struct {
	name string
	log  *versionLog

	mu   sync.Mutex
	last Version
	seen bool // a head has been read before
}

func (p *publishedSource) Name() string { return "published" }

func (p *publishedSource) Read(ctx context.Context) (docs []driver.Document, _ error) {
	if p.invalid != nil {
		return nil, p.invalid
	}
	for _, l := range p.layers {
		v, err := l.read(ctx, p.instance)
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", l.name, err)
		}
		if v.Number > 0 {
			name := layerVersion(l.name, v.Number)
			docs = append(docs, driver.Document{Name: name, Format: v.Format, Data: []byte(v.Document), Version: name})
		}
	}
	return docs, nil
}

func layerVersion(layer string, number int) string { return layer + "@" + strconv.Itoa(number) }

// read returns the version that an instance takes, or the zero Version.
func (l *layerReader) read(ctx context.Context, instance string) (Version, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	head, _, err := l.log.head(ctx)
	switch {
	case errors.Is(err, config.ErrNotFound) && !l.seen:
		return Version{}, nil
	case err != nil:
		return Version{}, err
	}
	l.seen = true
	number := head.For(instance)
	if number == 0 {
		return Version{}, nil // the first version is still a candidate
	}
	if l.last.Number != number {
		v, err := l.log.get(ctx, number)
		if err != nil {
			return Version{}, err
		}
		l.last = v
	}
	return l.last, nil
}

// Watch follows the heads of all layers.
func (p *publishedSource) Watch(ctx context.Context, changed func(error)) error {
	if len(p.layers) == 0 {
		<-ctx.Done()
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	ended := make(chan error, len(p.layers))
	combined := &layerStates{lost: map[string]error{}, changed: changed}
	for _, l := range p.layers {
		group.Go(func() {
			ended <- watchKey(ctx, l.log.store, headKey, func(err error) { combined.notify(l.name, err) })
			cancel()
		})
	}
	group.Wait()
	return <-ended
}

// layerStates combines the states of the connections of all layers into one.
type layerStates struct {
	mu      sync.Mutex
	lost    map[string]error
	changed func(error)
}

func (g *layerStates) notify(layer string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		g.lost[layer] = err
	} else {
		delete(g.lost, layer)
	}
	for _, err := range g.lost {
		g.changed(err)
		return
	}
	g.changed(nil)
}
