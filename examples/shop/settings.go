package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/versions"
	"github.com/go-os/go-os/control/router"
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
	Routes map[string]router.Policy // by the name of the called service; "*" is for the others
}

// Validate checks that every product has a price and a name, and that routes lead to services. A policy validates itself.
func (s *settings) Validate() error {
	var errs []error
	for id, p := range s.Products {
		if p.Name == "" || p.Cents <= 0 {
			errs = append(errs, fmt.Errorf("products.%s: a product has a name, and a price in cents above zero", id))
		}
	}
	for service := range s.Routes {
		if service != "*" && !slices.Contains(names, service) {
			errs = append(errs, fmt.Errorf("routes.%s: no such service: must be one of %s, or *", service, strings.Join(names, ", ")))
		}
	}
	return errors.Join(errs...)
}

// defaults has the default products and routes.
func defaults() settings {
	return settings{
		Products: map[string]product{
			"lamp":  {Name: "Desk lamp", Cents: 49_00},
			"chair": {Name: "Office chair", Cents: 189_00},
			"desk":  {Name: "Standing desk", Cents: 640_00},
		},
		Routes: map[string]router.Policy{"payments": toPayments},
	}
}

// toPayments is the default policy of calls to payments. Its times are short, so that even a short run shows how an instance loses its
// calls and gets them back. The breaker recognizes a slow instance by its share of slow charges: a charge that is reviewed is slow at any
// instance, which blurs the comparison of latencies.
var toPayments = router.Policy{
	Balance:   router.Balance{Decay: 2 * time.Second},
	Ejection:  router.Ejection{Base: 2 * time.Second},
	SlowStart: router.SlowStart{Window: 2 * time.Second},
	EndpointBreaker: router.Breaker{
		Slow: 100 * time.Millisecond, SlowRatio: 0.7, MinRequests: 5, Window: 2 * time.Second, Open: time.Second, Trials: 3,
	},
}

// layer is the layer of published configuration for the shop.
const layer = "prod/application/shop"

// configure loads the settings of a service, routes its calls by them, and follows them until the service is drained. Each service has its own Config, as if it ran
// on a separate machine.
func (s *shop) configure(ctx context.Context, svc *service) (*config.Config[settings], error) {
	sources := []config.Source{config.Defaults(defaults())}
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
	if err := svc.route(cfg); err != nil {
		return nil, errors.Join(err, closeStore())
	}
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
