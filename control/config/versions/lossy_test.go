package versions_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/versions"
	"github.com/go-os/go-os/internal/tooling/configtesting"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/memkv"
)

// plain is an engine with compare-and-set as its only ability: no lists, watches or TTL.
type plain struct{ driver.Driver }

func (p plain) Capabilities() driver.Capabilities {
	c := p.Driver.Capabilities()
	c.Abilities = driver.CAS
	return c
}

// goodHealth is the health of canaries without failures.
func goodHealth(context.Context) (versions.Health, error) {
	return versions.Health{Canary: versions.Sample{Total: 1000}, Stable: versions.Sample{Total: 1000}}, nil
}

// TestPlainEngine publishes, rolls out and follows on an engine with few abilities, by reading every Options.Recheck.
func TestPlainEngine(t *testing.T) {
	store := newStore(t, plain{memkv.New(nil)})
	v := versionsIn(t, store, nil)
	publish(t, v, "retries: 1\n")
	o := options(versions.Published(store, &versions.PublishedOptions{Layers: []string{layer}, Instance: "orders-7"}))
	o.Recheck = 20 * time.Millisecond
	cfg, err := config.Load[service](t.Context(), o)
	must(t, err)
	configtesting.Follow(t, cfg)
	publish(t, v, "retries: 2\n")
	configtesting.Eventually(t, "the change", func() bool { return cfg.Get().Retries == 2 })
	_, err = v.Stage(t.Context(), draft("retries: 3\n"), 10)
	must(t, err)
	plan := versions.Plan{Author: "guide", Stages: []versions.Stage{}, Every: time.Millisecond}
	if err := v.RunRollout(t.Context(), plan); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "set Plan.Health") {
		t.Errorf("a rollout without a view of canaries: %v", err)
	}
	plan.Health = goodHealth
	must(t, v.RunRollout(t.Context(), plan))
	configtesting.Eventually(t, "the rollout", func() bool { return cfg.Get().Retries == 3 && cfg.Err() == nil })
}
