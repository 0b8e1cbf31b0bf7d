package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/driver"
	"github.com/go-os/go-os/control/config/versions"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

// textSource is a source that returns its fields.
type textSource struct {
	text string
	err  error
}

func (*textSource) Name() string { return "file shop.yaml" }

func (s *textSource) Read(context.Context) ([]driver.Document, error) {
	return []driver.Document{{Name: "shop.yaml", Format: config.YAML, Data: []byte(s.text)}}, s.err
}

// holdFor is how long a rollout waits for a signal that does not come.
const holdFor = 100 * time.Millisecond

// shopConfig is the configuration.
type shopConfig struct {
	Retries int `validate:"max=10"`
}

// layer is the layer of the published documents.
const layer = "prod/application/shop"

// runVersions publishes documents, rolls them out and rolls them back.
func runVersions(ctx context.Context, r *record) error {
	store := kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()})
	defer func() { _ = store.Close() }()
	published, err := versions.New(store, layer, &versions.Options{Name: "shop", Telemetry: r.providers()})
	if err != nil {
		return err
	}
	return rollOut(ctx, published)
}

// runConfig applies a configuration, then makes it invalid, unreachable and valid again.
func runConfig(ctx context.Context, r *record) error {
	p := r.providers()
	store := kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()})
	defer func() { _ = store.Close() }()
	published, err := versions.New(store, layer, &versions.Options{Telemetry: telemetry.Off()})
	if err != nil {
		return err
	}
	if _, err := published.Publish(ctx, versions.Draft{Document: "retries: 1\n", Format: config.YAML, Author: "ada"}); err != nil {
		return err
	}
	source := &textSource{text: "retires: 1\n"}
	if _, err := config.Load[shopConfig](ctx, &config.Options{Name: "shop", Telemetry: p, Sources: []config.Source{source}}); err == nil {
		return fmt.Errorf("an unknown key was accepted")
	}
	cfg, err := config.Load[shopConfig](ctx, &config.Options{Name: "shop", AllowUnknown: true, Telemetry: p, Sources: []config.Source{
		versions.Published(store, &versions.PublishedOptions{Layers: []string{layer}}), source,
	}})
	if err != nil {
		return err
	}
	if _, err := cfg.OnChange("", func(_, _ *shopConfig) { panic(errDemo) }); err != nil {
		return err
	}
	for _, now := range []textSource{{text: "retries: 2\n"}, {text: "retries: 99\n"}, {err: driver.ErrUnavailable}, {text: "retries: {}\n"}, {text: "{"}, {text: "{}"}} {
		*source = now
		_ = cfg.Reload(ctx)
	}
	return cfg.Err()
}

// rollOut makes every step.
func rollOut(ctx context.Context, v *versions.Layer) error {
	draft := versions.Draft{Document: "retries: 1\n", Format: config.YAML, Author: "ada", Message: "fewer retries"}
	if _, err := v.Publish(ctx, versions.Draft{Document: "{", Format: config.JSON, Author: "ada"}); err == nil {
		return fmt.Errorf("a broken document was published")
	}
	if _, err := v.Publish(ctx, draft); err != nil {
		return err
	}
	if _, err := v.Stage(ctx, draft, 5); err != nil {
		return err
	}
	_, _ = v.Publish(ctx, draft) // a rollout is running
	if err := v.Advance(ctx, 10, "ada", "well"); err != nil {
		return err
	}
	held, cancel := context.WithTimeout(ctx, holdFor)
	defer cancel()
	_ = v.RunRollout(held, versions.Plan{Author: "guide", Every: holdFor / 10, Stages: []versions.Stage{}, Health: func(context.Context) (versions.Health, error) {
		return versions.Health{}, errDemo
	}})
	if err := v.Abort(ctx, "ada", "ill"); err != nil {
		return err
	}
	if _, err := v.Stage(ctx, draft, 5); err != nil {
		return err
	}
	if err := v.Promote(ctx, "ada", "well"); err != nil {
		return err
	}
	if _, err := v.Rollback(ctx, 1, "ada", "ill after all"); err != nil {
		return err
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	refuse(canceled, v, draft)
	return readBack(ctx, v)
}

// refuse calls each operation with a context that has ended.
func refuse(canceled context.Context, v *versions.Layer, draft versions.Draft) {
	_, _ = v.Publish(canceled, draft)
	_, _ = v.Stage(canceled, draft, 5)
	_ = v.Advance(canceled, 10, "ada", "well")
	_ = v.Promote(canceled, "ada", "well")
	_ = v.Abort(canceled, "ada", "ill")
	_, _ = v.Rollback(canceled, 1, "ada", "ill after all")
	_ = readBack(canceled, v)
}

// readBack calls each read-only operation.
func readBack(ctx context.Context, v *versions.Layer) error {
	_, get := v.Get(ctx, 1)
	_, _ = v.Get(ctx, 99)
	_, head := v.Head(ctx)
	_, diff := v.Diff(ctx, 1, 2)
	_, rollout := v.Rollout(ctx, 2)
	_, instances := v.Instances(ctx)
	var history error
	for _, err := range v.History(ctx) {
		history = errors.Join(history, err)
	}
	return errors.Join(get, head, diff, rollout, instances, history)
}
