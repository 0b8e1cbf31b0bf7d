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

// settings is the configuration of the shop, which can change at run time. See shop.yaml.
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

// Validate checks that every product has a price and a name.
func (s *settings) Validate() error {
	var errs []error
	for id, p := range s.Products {
		if p.Name == "" || p.Cents <= 0 {
			errs = append(errs, fmt.Errorf("products.%s: a product has a name, and a price in cents above zero", id))
		}
	}
	return errors.Join(errs...)
}

// assortment has the default products.
var assortment = settings{Products: map[string]product{
	"lamp":  {Name: "Desk lamp", Cents: 49_00},
	"chair": {Name: "Office chair", Cents: 189_00},
	"desk":  {Name: "Standing desk", Cents: 640_00},
}}

// layer is the layer of published configuration for the shop.
const layer = "prod/application/shop"

// configure loads the settings of a service, and follows them until the service is drained. Each service has its own Config, as if it ran
// on a separate machine.
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
	group.Go(func() { _ = cfg.Run(running) }) // no error, since it runs only once
	svc.stop = append(svc.stop, func(context.Context) error {
		cancel()
		group.Wait()
		return closeStore()
	})
	return cfg, nil
}

// instance returns a unique name for a service of this process.
func instance(service string) string {
	host, _ := os.Hostname()
	return strings.Join([]string{cmp.Or(host, "localhost"), fmt.Sprint(os.Getpid()), service}, "-")
}

// find returns a product from the current settings.
func (s *settings) find(id string) (product, bool) {
	p, ok := s.Products[id]
	p.ID = id
	return p, ok
}
