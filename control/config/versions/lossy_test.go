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

// plain is an engine that can compare and set, and nothing else: no lists, no watches, no TTL.
type plain struct{ driver.Driver }

func (p plain) Capabilities() driver.Capabilities {
	c := p.Driver.Capabilities()
	c.Abilities = driver.CAS
	return c
}

// wellHealth is what a monitor says of canaries that are well.
func wellHealth(context.Context) (versions.Health, error) {
	return versions.Health{Canary: versions.Sample{Total: 1000}, Stable: versions.Sample{Total: 1000}}, nil
}

// TestPlainEngine publishes, rolls out and follows on an engine that can do little: what is published is read again every now and
// then.
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
		t.Errorf("a guide that can see no canary: %v", err)
	}
	plan.Health = wellHealth
	must(t, v.RunRollout(t.Context(), plan))
	configtesting.Eventually(t, "the rollout", func() bool { return cfg.Get().Retries == 3 && cfg.Err() == nil })
}
