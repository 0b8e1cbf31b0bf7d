package versions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/control/config/internal/document"
	"github.com/go-os/go-os/state/kv"
)

// KeyOptions configure Key.
type KeyOptions struct {
	// Format of the value. Default: by the ending of the key, as for files.
	Format string
	// Optional makes a key that is not there a configuration without keys. Otherwise it is a problem, and what it said stays in
	// force.
	Optional bool
}

// Key returns the document at one key of a store, which needs the ability kv.Watch to be followed at once; without it, it is read
// again every config.Options.Recheck.
func Key(store *kv.Store, key string, opts *KeyOptions) config.Source {
	k := &keySource{store: store, key: key, format: document.FormatOf(key)}
	if opts != nil {
		k.optional = opts.Optional
		if opts.Format != "" {
			k.format = opts.Format
		}
	}
	return k
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
	return fmt.Errorf("%w: the store of versions.%s is nil: give one that kv.New returned", config.ErrInvalid, function)
}

// storeError gives the errors of package kv their names here.
func storeError(err error) error {
	for _, known := range []struct{ theirs, ours error }{
		{kv.ErrNotFound, config.ErrNotFound}, {kv.ErrTooLarge, config.ErrTooLarge}, {kv.ErrInvalid, config.ErrInvalid}, {kv.ErrUnavailable, config.ErrUnavailable}, {kv.ErrClosed, config.ErrUnavailable},
	} {
		if errors.Is(err, known.theirs) {
			return fmt.Errorf("%w: %w", known.ours, err)
		}
	}
	return err // errors.ErrUnsupported, the end of a context
}

// watchKey calls changed when a key has changed, and when the connection is lost and back.
func watchKey(ctx context.Context, store *kv.Store, key string, changed func(error)) error {
	if err := store.Require(kv.Watch); err != nil {
		<-ctx.Done() // it is read again every now and then
		return nil
	}
	settled := false // nothing of a snapshot is told before its end
	for event, err := range store.Watch(ctx, key) {
		if err != nil {
			return storeError(err)
		}
		switch event.Kind {
		case kv.Lost:
			settled = false
			changed(errors.New("the connection to the store is lost"))
		case kv.Resync:
			settled = false
		case kv.Synced:
			settled = true
			changed(nil)
		case kv.Put, kv.Delete:
			if settled {
				changed(nil)
			}
		}
	}
	return nil
}

// Namespace says who an instance is, and so which layers of configuration it has.
type Namespace struct {
	// Environment, such as "prod". Everything of one environment lies below its name, so that a store can keep one from the
	// other.
	Environment string
	// Region, such as "eu-west".
	Region string
	// Application, such as "orders".
	Application string
	// Instance, such as a host or a pod.
	Instance string
}

// Layers returns the layers of configuration from the most general to the most special; later ones override earlier ones:
//
//	base
//	prod/base
//	prod/region/eu-west
//	prod/application/orders
//	prod/application/orders/region/eu-west
//	prod/application/orders/instance/orders-7
//
// Those whose part of the Namespace is empty are left out. Without an Environment there are no layers but base.
func (n Namespace) Layers() []string {
	layers := []string{"base"}
	if n.Environment == "" {
		return layers
	}
	layers = append(layers, n.Environment+"/base")
	if n.Region != "" {
		layers = append(layers, n.Environment+"/region/"+n.Region)
	}
	if n.Application == "" {
		return layers
	}
	app := n.Environment + "/application/" + n.Application
	layers = append(layers, app)
	if n.Region != "" {
		layers = append(layers, app+"/region/"+n.Region)
	}
	if n.Instance != "" {
		layers = append(layers, app+"/instance/"+n.Instance)
	}
	return layers
}

// reportTTL is how long a report counts; Run repeats it every 30 seconds.
const reportTTL = 90 * time.Second

// PublishedOptions configure Published.
type PublishedOptions struct {
	// Layers of the store that are followed, later ones overriding earlier ones: those of New, or Namespace.Layers. Required.
	Layers []string
	// Instance is a name that no other instance has, such as a host or a pod. It decides whether the instance takes the candidate
	// of a staged rollout, and Run reports under it what the instance runs. Default: none; then only what is rolled out to all is
	// taken, and nothing is reported.
	Instance string
}

// Published returns what was published in the layers of a store. A layer in which nothing was ever published has no keys.
func Published(store *kv.Store, opts *PublishedOptions) config.Source {
	p := &publishedSource{noStore: store == nil}
	if opts != nil && store != nil {
		p.instance = opts.Instance
		for _, name := range opts.Layers {
			p.layers = append(p.layers, &layerReader{name: name, log: &versionLog{store: kv.Namespace(store, name)}})
		}
	}
	return p
}

type publishedSource struct {
	layers   []*layerReader
	instance string
	noStore  bool
}

// layerReader reads one layer. What was published never changes, so it is read once.
type layerReader struct {
	name string
	log  *versionLog

	mu   sync.Mutex
	last Version
	seen bool // something was published here
}

func (p *publishedSource) Name() string { return "published" }

func (p *publishedSource) Read(ctx context.Context) (docs []driver.Document, _ error) {
	if p.noStore {
		return nil, errNoStore("Published")
	}
	if len(p.layers) == 0 {
		return nil, fmt.Errorf("%w: PublishedOptions.Layers is empty", config.ErrInvalid)
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
		return Version{}, nil // only a candidate was ever published
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
	gathered := &gather{lost: map[string]error{}, changed: changed}
	for _, l := range p.layers {
		group.Go(func() {
			ended <- watchKey(ctx, l.log.store, headKey, func(err error) { gathered.tell(l.name, err) })
			cancel()
		})
	}
	group.Wait()
	return <-ended
}

// gather makes one state of those of the layers.
type gather struct {
	mu      sync.Mutex
	lost    map[string]error
	changed func(error)
}

func (g *gather) tell(layer string, err error) {
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

// Instance is what an instance says about itself.
type Instance struct {
	// Name of the instance.
	Name string `json:"name"`
	// Version that it runs.
	Version int `json:"version"`
	// Rejected is a version that it refused, or 0.
	Rejected int `json:"rejected,omitempty"`
	// Reason for which it did.
	Reason string `json:"reason,omitempty"`
	// Time of the report, by the clock of the instance. No decision rests on it.
	Time time.Time `json:"time"`
}

// Report leaves a report of the instance in each layer that has a version.
func (p *publishedSource) Report(ctx context.Context, r driver.Report) error {
	if p.instance == "" {
		return nil
	}
	var errs []error
	for _, l := range p.layers {
		now := Instance{Name: p.instance, Version: numberIn(r.Versions, l.name), Rejected: numberIn(r.Rejected, l.name), Time: time.Now()}
		if now.Rejected == now.Version {
			now.Rejected = 0
		}
		if now.Rejected != 0 {
			now.Reason = r.Reason
		}
		if now.Version != 0 || now.Rejected != 0 {
			errs = append(errs, l.log.report(ctx, now))
		}
	}
	return errors.Join(errs...)
}

// report writes what an instance says about itself. Where the engine can, it expires.
func (l *versionLog) report(ctx context.Context, i Instance) error {
	value, err := json.Marshal(i)
	if err != nil {
		return err
	}
	var opts []kv.PutOption
	if l.store.Require(kv.Expiry) == nil {
		opts = append(opts, kv.TTL(reportTTL))
	}
	_, err = l.store.Put(ctx, instancePrefix+i.Name, value, opts...)
	return err
}

// numberIn finds a layer's version among those of all layers.
func numberIn(versions []string, layer string) int {
	for _, v := range versions {
		if rest, ok := strings.CutPrefix(v, layer+"@"); ok {
			if n, err := strconv.Atoi(rest); err == nil {
				return n
			}
		}
	}
	return 0
}
