package config_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/versions"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
	"github.com/go-os/go-os/telemetry/log"
	"github.com/go-os/go-os/telemetry/trace"
)

// Shop is the configuration of the examples.
type Shop struct {
	Greeting string                `default:"hello"`
	Timeout  time.Duration         `default:"2s" validate:"min=10ms,max=1m"`
	Prices   map[string]int64      `validate:"dive,gt=0"`
	APIKey   config.Secret[string] `config:"api_key"`
	Limits   Limits
}

// Limits are for one component.
type Limits struct {
	PerSecond int         `default:"100" validate:"gt=0"`
	Upload    config.Size `default:"1MiB"`
}

// shopFile writes a file for an example.
func shopFile(text string) (path string, remove func()) {
	dir, err := os.MkdirTemp("", "shop")
	if err != nil {
		panic(err)
	}
	path = filepath.Join(dir, "shop.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		panic(err)
	}
	return path, func() { _ = os.RemoveAll(dir) }
}

func Example() {
	path, remove := shopFile("prices: {lamp: 4900}\napi_key: s3cr3t\n")
	defer remove()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	cfg, err := config.Load[Shop](ctx, &config.Options{Name: "shop", Sources: []config.Source{
		config.Required(config.File(path, nil)),
		config.Env("SHOP_", []string{"SHOP_TIMEOUT=5s"}), // usually os.Environ()
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	changed := make(chan int64)
	_, err = cfg.OnChange("prices.lamp", func(_, shop *Shop) { changed <- shop.Prices["lamp"] })
	if err != nil {
		fmt.Println(err)
		return
	}
	go cfg.Run(ctx) // follows the file

	shop := cfg.Get()
	fmt.Println(shop.Greeting, shop.Timeout, shop.Prices["lamp"], shop.APIKey)

	_ = os.WriteFile(path, []byte("prices: {lamp: 3900}\n"), 0o600) // somebody edits it
	fmt.Println("the lamp is now", <-changed)
	// Output:
	// hello 5s 4900 [redacted]
	// the lamp is now 3900
}

func ExampleLoad_mistake() {
	path, remove := shopFile("greetings: hi\ntimeout: 2\nlimits:\n  upload: 64KiB\n  per_second: 0\n")
	defer remove()

	_, err := config.Load[Shop](context.Background(), &config.Options{Sources: []config.Source{config.Required(config.File(path, nil))}})
	fmt.Println(strings.ReplaceAll(err.Error(), filepath.Dir(path)+"/", ""))
	// Output:
	// config: shop.yaml:1: greetings: unknown key: did you mean greeting?
	// config: shop.yaml:2: timeout: invalid: 2 has no unit: write a duration such as 30s, 5m or 1h30m
	// config: shop.yaml:5: limits.per_second: invalid: must be more than 0
}

func ExampleRequired() {
	missing := config.File("/nowhere/shop.yaml", nil)

	cfg, _ := config.Load[Shop](context.Background(), &config.Options{Sources: []config.Source{missing}})
	fmt.Println("optional:", cfg.Get().Greeting, errors.Is(cfg.Err(), config.ErrNotFound))

	_, err := config.Load[Shop](context.Background(), &config.Options{Sources: []config.Source{config.Required(missing)}})
	fmt.Println("required:", errors.Is(err, config.ErrNotFound))
	// Output:
	// optional: hello true
	// required: true
}

func ExampleSnapshot_Dump() {
	cfg, err := config.Load[Shop](context.Background(), &config.Options{Sources: []config.Source{
		config.Defaults(Shop{Prices: map[string]int64{"lamp": 4900}, Timeout: 3 * time.Second}),
		config.Env("SHOP_", []string{"SHOP_TIMEOUT=5s", "SHOP_API_KEY=s3cr3t", `SHOP_PRICES={"desk": 64000}`}),
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = cfg.Snapshot().Dump(os.Stdout)
	// Output:
	// api_key            [redacted]  $SHOP_API_KEY
	// greeting           hello       default
	// limits.per_second  100         default
	// limits.upload      1MiB        default
	// prices.desk        64000       $SHOP_PRICES
	// prices.lamp        4900        defaults
	// timeout            5s          $SHOP_TIMEOUT
	//                    3s          defaults, overridden
	//                    2s          default, overridden
}

func ExampleFlags() {
	flags := flag.NewFlagSet("shop", flag.ContinueOnError)
	flags.Duration("timeout", 0, "how long a request may take")
	flags.Int("limits.per-second", 0, "requests a second")
	_ = flags.Parse([]string{"-limits.per-second", "7"})

	cfg, err := config.Load[Shop](context.Background(), &config.Options{Sources: []config.Source{config.Flags(flags)}})
	fmt.Println(cfg.Get().Limits.PerSecond, cfg.Get().Timeout, err)
	// Output: 7 2s <nil>
}

func ExampleEnv() {
	environ := []string{"SHOP_TIMEOUT=5s", "SHOP_LIMITS_PER_SECOND=7", `SHOP_PRICES={"lamp": 4900}`, "SHOP_SERVICE_HOST=10.0.0.1", "HOME=/"}
	cfg, err := config.Load[Shop](context.Background(), &config.Options{Sources: []config.Source{config.Env("SHOP_", environ)}, Telemetry: telemetry.Off()})
	if err != nil {
		fmt.Println(err)
		return
	}
	shop := cfg.Get()
	fmt.Println(shop.Timeout, shop.Limits.PerSecond, shop.Prices)
	fmt.Println(cfg.Status().Warnings)
	// Output:
	// 5s 7 map[lamp:4900]
	// [config: $SHOP_SERVICE_HOST: unknown key]
}

func ExampleURL() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"greeting": "hi"}`)
	}))
	defer server.Close()

	cfg, err := config.Load[Shop](context.Background(), &config.Options{Sources: []config.Source{
		config.URL(server.URL, &config.URLOptions{Header: http.Header{"Authorization": {"Bearer …"}}, Interval: time.Minute}),
	}})
	fmt.Println(cfg.Get().Greeting, err)
	// Output: hi <nil>
}

func ExampleConfig_Changes() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	store := kv.New(memkv.New(nil), nil)
	defer store.Close()
	set := func(text string) { _, _ = store.Put(ctx, "shop.yaml", []byte(text)) }
	set("greeting: hi\n")
	cfg, err := config.Load[Shop](ctx, &config.Options{Sources: []config.Source{versions.Key(store, "shop.yaml", nil)}, Telemetry: telemetry.Off()})
	if err != nil {
		fmt.Println(err)
		return
	}
	changes := cfg.Changes(ctx) // from here on
	go cfg.Run(ctx)

	go set("greeting: hey\n")
	for change := range changes {
		fmt.Println(change.Keys, change.Old.Value.Greeting, "→", change.New.Value.Greeting)
		break
	}
	// Output: [greeting] hi → hey
}

func ExampleConfig_Status() {
	ctx := context.Background()
	store := kv.New(memkv.New(nil), nil)
	defer store.Close()
	_, _ = store.Put(ctx, "shop.yaml", []byte("greeting: hi\n"))
	cfg, err := config.Load[Shop](ctx, &config.Options{Sources: []config.Source{versions.Key(store, "shop.yaml", nil)}, Telemetry: telemetry.Off()})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, _ = store.Put(ctx, "shop.yaml", []byte("greeting: hey\ntimeout: 2h\n"))
	_ = cfg.Reload(ctx) // Run does it by itself
	for _, p := range cfg.Status().Problems {
		fmt.Println(p.Source, "|", p.Err)
	}
	fmt.Println("still", cfg.Get().Greeting)
	// Output:
	// key shop.yaml | config: shop.yaml:2: timeout: invalid: must be at most 1m
	// still hi
}

func ExampleSize() {
	var s config.Size
	err := s.UnmarshalText([]byte("1.5MiB"))
	fmt.Println(uint64(s), s, 64*config.KiB, err)
	// Output: 1572864 1536KiB 64KiB <nil>
}

func ExampleNewView() {
	cfg, err := config.Load[Shop](context.Background(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	limits := config.NewView(cfg, func(s *Shop) *Limits { return &s.Limits })
	limits.OnChange(func(old, new *Limits) { fmt.Println(old.PerSecond, "→", new.PerSecond) })
	fmt.Println(limits.Get().PerSecond, limits.Get().Upload)
	// Output: 100 1MiB
}

func ExampleSecret() {
	key := config.NewSecret("s3cr3t")
	fmt.Printf("%v %s %#v %q\n", key, key, key, key)
	fmt.Println(errors.Is(fmt.Errorf("no access with %v", key), nil), len(key.Reveal()))
	// Output:
	// [redacted] [redacted] [redacted] [redacted]
	// false 6
}

// Observed is the part of a configuration that controls telemetry.
type Observed struct {
	Levels   map[string]slog.Level // by the names of loggers
	Sampling float64               `default:"0.01" validate:"min=0,max=1"`
	Debug    struct {
		Tenant, Trace string    // all requests of this tenant, and this trace, are sampled
		Until         time.Time // the end of Tenant and Trace
	}
}

// debugSampler samples all requests of one tenant, and one trace. The base sampler decides about the rest.
type debugSampler struct {
	tenant, trace string
	sdktrace.Sampler
}

func (s debugSampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	debug := p.TraceID.String() == s.trace
	for _, kv := range p.Attributes {
		debug = debug || kv.Key == "tenant" && kv.Value.AsString() == s.tenant
	}
	if debug {
		return sdktrace.AlwaysSample().ShouldSample(p)
	}
	return s.Sampler.ShouldSample(p)
}

// Example_telemetry connects configuration to the levels of loggers and to the sampler. Temporary settings revert by themselves, even if
// the configuration does not change again.
func Example_telemetry() {
	levels, sampler := log.NewLevels(slog.LevelInfo), trace.NewSampler(nil)
	steer := func(_, o *Observed) {
		left := time.Until(o.Debug.Until)
		for name, level := range o.Levels {
			_ = levels.Set(name, level, max(0, left))
		}
		lasting := sdktrace.ParentBased(sdktrace.TraceIDRatioBased(o.Sampling))
		_ = sampler.Set(lasting, 0)
		if left > 0 {
			_ = sampler.Set(debugSampler{o.Debug.Tenant, o.Debug.Trace, lasting}, left)
		}
	}

	until := time.Now().Add(10 * time.Minute).Format(time.RFC3339)
	path, remove := shopFile("levels: {orders.payment: DEBUG}\nsampling: 0\ndebug: {tenant: acme, until: " + until + "}\n")
	defer remove()
	cfg, err := config.Load[Observed](context.Background(), &config.Options{Sources: []config.Source{config.File(path, nil)}})
	if err != nil {
		fmt.Println(err)
		return
	}
	steer(nil, cfg.Get())
	_, _ = cfg.OnChange("", steer)

	fmt.Println(levels.Get("orders"), levels.Get("orders.payment"))
	fmt.Println("reverts in", time.Until(sampler.RevertsAt()).Round(time.Minute))
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler)).Tracer("orders")
	for _, tenant := range []string{"acme", "other"} {
		_, span := tracer.Start(context.Background(), "order", oteltrace.WithAttributes(attribute.String("tenant", tenant)))
		fmt.Println(tenant, "is traced:", span.SpanContext().IsSampled())
		span.End()
	}
	// Output:
	// INFO DEBUG
	// reverts in 10m0s
	// acme is traced: true
	// other is traced: false
}
