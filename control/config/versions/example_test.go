package versions_test

import (
	"context"
	"fmt"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/versions"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
)

// Shop is the configuration of the examples.
type Shop struct {
	Greeting string           `default:"hello"`
	Prices   map[string]int64 `validate:"dive,gt=0"`
}

func ExampleLayer() {
	ctx := context.Background()
	store := kv.New(memkv.New(nil), nil) // in a fleet: etcdkv, consulkv, natskv
	defer store.Close()
	v, err := versions.New(store, "prod/application/shop", &versions.Options{Check: versions.Check[Shop]()})
	if err != nil {
		fmt.Println(err)
		return
	}
	publish := func(document string) {
		v, err := v.Publish(ctx, versions.Draft{Document: document, Format: config.YAML, Author: "ada"})
		fmt.Println(v.Number, err)
	}
	publish("greeting: hi\n")
	publish("greeting: hey\nprices: {lamp: 4900}\n")
	publish("greetings: hey\n")

	diff, _ := v.Diff(ctx, 1, 2)
	for _, d := range diff {
		fmt.Println(d)
	}
	_, _ = v.Rollback(ctx, 1, "bob", "too casual")
	for v, err := range v.History(ctx) {
		fmt.Printf("%d by %s, restores %d: %q %v\n", v.Number, v.Author, v.Restored, v.Message, err)
	}

	cfg, err := config.Load[Shop](ctx, &config.Options{Sources: []config.Source{
		versions.Published(store, &versions.PublishedOptions{Layers: []string{"prod/application/shop"}, Instance: "shop-1"}),
	}})
	fmt.Println(cfg.Get().Greeting, cfg.Snapshot().Version, err)
	// Output:
	// 1 <nil>
	// 2 <nil>
	// 0 config: publish: draft.yaml:1: greetings: unknown key: did you mean greeting?
	// ~ greeting: "hi" → "hey"
	// + prices.lamp: 4900
	// 3 by bob, restores 1: "too casual" <nil>
	// 2 by ada, restores 0: "" <nil>
	// 1 by ada, restores 0: "" <nil>
	// hi prod/application/shop@3 <nil>
}

func ExampleLayer_Stage() {
	ctx := context.Background()
	store := kv.New(memkv.New(nil), nil)
	defer store.Close()
	v, err := versions.New(store, "prod/application/shop", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, _ = v.Publish(ctx, versions.Draft{Document: "greeting: hi", Format: config.YAML, Author: "ada"})
	_, _ = v.Stage(ctx, versions.Draft{Document: "greeting: yo", Format: config.YAML, Author: "ada"}, 10)

	// In production a stage takes about 10 minutes, and the health comes from the metrics by goos.config.version.
	err = v.RunRollout(ctx, versions.Plan{
		Author: "guide", Every: time.Millisecond, Stages: []versions.Stage{{Percent: 10, For: time.Millisecond}, {Percent: 50, For: time.Millisecond}},
		Health: func(context.Context) (versions.Health, error) {
			return versions.Health{Canary: versions.Sample{Total: 500, Failed: 60}, Stable: versions.Sample{Total: 4500, Failed: 9}}, nil
		},
	})
	fmt.Println(err)
	head, _ := v.Head(ctx)
	fmt.Println("in force:", head.Stable)
	// Output:
	// config: run rollout: prod/application/shop: rollout aborted: 60 of 500 requests of the canaries failed, and 9 of 4500 of the others
	// in force: 1
}

func ExampleNamespace() {
	ns := versions.Namespace{Environment: "prod", Region: "eu", Application: "shop"}
	for _, layer := range ns.Layers() {
		fmt.Println(layer)
	}
	// Output:
	// base
	// prod/base
	// prod/region/eu
	// prod/application/shop
	// prod/application/shop/region/eu
}

func ExampleKey() {
	ctx := context.Background()
	store := kv.New(memkv.New(nil), nil)
	defer store.Close()
	_, _ = store.Put(ctx, "shop.yaml", []byte("greeting: hi\n"))

	cfg, err := config.Load[Shop](ctx, &config.Options{Sources: []config.Source{versions.Key(store, "shop.yaml", nil)}})
	fmt.Println(cfg.Get().Greeting, err)
	// Output: hi <nil>
}
