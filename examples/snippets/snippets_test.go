// Package snippets compiles and runs the short programs of README.md. A test of internal/tooling/arch compares the two.
package snippets

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"strings"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/exporters"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/state/sync"
	"github.com/go-os/go-os/state/sync/memsync"
	"github.com/go-os/go-os/telemetry/trace"
)

func Example_telemetry() {
	ctx := context.Background()
	var lines strings.Builder
	spans := tracetest.NewSpanRecorder()
	pipeline, err := exporters.Setup(ctx, &exporters.Options{
		LogWriter: &lines, SpanProcessors: []sdktrace.SpanProcessor{spans}, Environ: []string{},
	})
	if err != nil {
		log.Fatal(err)
	}

	tracer := trace.New("example.com/shop", pipeline.Providers())
	err = tracer.Do(ctx, "charge", func(ctx context.Context) error { // an error or a panic marks the span
		slog.InfoContext(ctx, "charging", "order", 7) // the line has the span's trace_id and span_id
		return charge(ctx)
	})

	span := spans.Ended()[0]
	fmt.Println(err, span.Name(), strings.Contains(lines.String(), "trace_id="+span.SpanContext().TraceID().String()))
	fmt.Println(pipeline.Shutdown(ctx))
	// Output:
	// <nil> charge true
	// <nil>
}

func Example_keyValue() {
	ctx := context.Background()

	store := kv.New(memkv.New(nil), nil) // or etcdkv, consulkv, natskv, rediskv, boltkv, …
	version, err := store.Put(ctx, "cart/7", []byte("two apples"), kv.TTL(time.Hour))
	if err != nil {
		log.Fatal(err)
	}
	_, err = store.Put(ctx, "cart/7", []byte("three apples"), kv.IfVersion(version)) // or ErrConflict

	fmt.Println(err)
	_, err = store.Put(ctx, "cart/7", []byte("no apples"), kv.IfVersion(version))
	fmt.Println(errors.Is(err, kv.ErrConflict), store.Close())
	// Output:
	// <nil>
	// true <nil>
}

func Example_lock() {
	ctx := context.Background()

	session := sync.New(memsync.New(nil), nil) // or etcdsync, consulsync, pgsync, redissync
	err := session.Mutex("settlement").Do(ctx, func(ctx context.Context, g *sync.Grant) error {
		return settle(ctx, g.Token()) // ctx ends before another process can have the lock
	})

	fmt.Println(err, session.Close())
	// Output: <nil> <nil>
}

func Example_configuration() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	type Shop struct{ Greeting string }

	cfg, err := config.Load[Shop](ctx, &config.Options{Sources: []config.Source{
		config.Required(config.File("shop.yaml", nil)), config.Env("SHOP_", os.Environ()), // later ones win
	}})
	if err != nil {
		log.Fatal(err) // every mistake, with its file, line and key
	}
	go cfg.Run(ctx)                 // follows the file
	fmt.Println(cfg.Get().Greeting) // what is in force: the last good version

	// Output: good morning
}

func charge(ctx context.Context) error { return ctx.Err() }

func settle(ctx context.Context, _ sync.Token) error { return ctx.Err() }
