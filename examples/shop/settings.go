package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/versions"
)

// settings are what can be changed while the shop runs, see shop.yaml.
type settings struct {
	Products map[string]product `validate:"dive"`
	Switches struct {
		Carts  bool `default:"true"`
		Orders bool `default:"true"`
	}
	Limits struct {
		Quantity int32         `default:"100" validate:"min=1"` // of one product in one order
		Timeout  time.Duration `default:"2s" validate:"min=100ms,max=1m"`
	}
}

// Validate has every product cost something, and bear a name.
func (s *settings) Validate() error {
	var errs []error
	for id, p := range s.Products {
		if p.Name == "" || p.Cents <= 0 {
			errs = append(errs, fmt.Errorf("products.%s: a product has a name, and a price in cents above zero", id))
		}
	}
	return errors.Join(errs...)
}

// assortment is what the shop sells if nobody says anything else.
var assortment = settings{Products: map[string]product{
	"lamp":  {Name: "Desk lamp", Cents: 49_00},
	"chair": {Name: "Office chair", Cents: 189_00},
	"desk":  {Name: "Standing desk", Cents: 640_00},
}}

// layer is where configctl publishes for the shop.
const layer = "prod/application/shop"

// configure gives a service its settings, and follows them until it is drained. Each service has its own, as if it ran on a
// machine of its own.
func (s *shop) configure(ctx context.Context, svc *service) (*config.Config[settings], error) {
	sources := []config.Source{config.Defaults(assortment)}
	if s.flags.config != "" {
		sources = append(sources, config.Required(config.File(s.flags.config, nil)))
	}
	closeStore := func() error { return nil }
	if s.flags.published != "" {
		engine, err := openEngine(ctx, "config", "-published", s.flags.published, svc.pipeline.Providers())
		if err != nil {
			return nil, err
		}
		closeStore = engine.Close
		sources = append(sources, versions.Published(engine.Store, &versions.PublishedOptions{Layers: []string{layer}, Instance: instance(svc.name)}))
	}
	cfg, err := config.Load[settings](ctx, &config.Options{
		Name: "shop", Sources: append(sources, config.Env("SHOP_", os.Environ())), Telemetry: svc.pipeline.Providers(),
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", svc.name, err), closeStore())
	}
	svc.stamp.settings.Store(cfg)
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var group sync.WaitGroup
	group.Go(func() { _ = cfg.Run(running) }) // it is run once, so there is no error
	svc.stop = append(svc.stop, func(context.Context) error {
		cancel()
		group.Wait()
		return closeStore()
	})
	return cfg, nil
}

// instance names a service of this process among all.
func instance(service string) string {
	host, _ := os.Hostname()
	return strings.Join([]string{cmp.Or(host, "localhost"), fmt.Sprint(os.Getpid()), service}, "-")
}

// find returns a product as it is sold now.
func (s *settings) find(id string) (product, bool) {
	p, ok := s.Products[id]
	p.ID = id
	return p, ok
}
