package log_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/go-os/go-os/telemetry"
	"github.com/go-os/go-os/telemetry/log"
)

// untimed omits the time, so that the output is always the same.
func untimed(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// request returns a context within a span.
func request() context.Context {
	return trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID:    trace.TraceID{0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd, 0x84, 0x48, 0xeb, 0x21, 0x1c, 0x80, 0x31, 0x9c},
		SpanID:     trace.SpanID{0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31},
		TraceFlags: trace.FlagsSampled,
	}))
}

// One record goes to all sinks: here text, JSON, and OpenTelemetry.
func ExampleNew() {
	logger := log.New(nil,
		log.Text(os.Stdout, &log.SinkOptions{ReplaceAttr: untimed}),
		log.JSON(os.Stdout, &log.SinkOptions{ReplaceAttr: untimed}),
		log.OTel("shop/orders", telemetry.Providers{}),
	)
	logger.Info("order placed", "items", 3)
	// Output:
	// level=INFO msg="order placed" items=3
	// {"level":"INFO","msg":"order placed","items":3}
}

// A record logged with the context of a span has its ids at the top level, whatever groups are open.
func ExampleJSON() {
	logger := log.New(nil, log.JSON(os.Stdout, &log.SinkOptions{ReplaceAttr: untimed}))
	logger.WithGroup("order").InfoContext(request(), "placed", "items", 3)
	// Output:
	// {"level":"INFO","msg":"placed","trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331","trace_flags":"01","order":{"items":3}}
}

func ExampleText() {
	logger := log.New(nil, log.Text(os.Stdout, &log.SinkOptions{ReplaceAttr: untimed}))
	logger.InfoContext(request(), "placed")
	// Output:
	// level=INFO msg=placed trace_id=0af7651916cd43dd8448eb211c80319c span_id=b7ad6b7169203331 trace_flags=01
}

// A level applies to a name and its descendants. A temporary level reverts by itself.
func ExampleLevels() {
	levels := log.NewLevels(slog.LevelInfo)
	logger := log.New(&log.Options{Levels: levels}, log.Text(os.Stdout, &log.SinkOptions{ReplaceAttr: untimed}))
	etcd := log.Named(logger, "state.kv.etcd")

	etcd.Debug("not written")
	if err := levels.Set("state.kv", slog.LevelDebug, 10*time.Minute); err != nil {
		fmt.Println(err)
	}
	etcd.Debug("written, for ten minutes")
	logger.Debug("not written")
	// Output:
	// level=DEBUG msg="written, for ten minutes" logger=state.kv.etcd
}

// Levels is an http.Handler: mount it where only operators can reach it.
func ExampleLevels_ServeHTTP() {
	levels := log.NewLevels(slog.LevelInfo)
	server := httptest.NewServer(levels)
	defer server.Close()

	put := func(body string) {
		req, err := http.NewRequest(http.MethodPut, server.URL, strings.NewReader(body))
		if err != nil {
			fmt.Println(err)
			return
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		fmt.Print(resp.StatusCode, " ", string(answer))
		if err != nil {
			fmt.Println(err)
		}
	}
	put(`{"logger":"state.kv","level":"debug","for":"0s"}`)
	put(`{"logger":"state.kv","level":"loud","for":"10m"}`)
	// Output:
	// 200 {"levels":[{"logger":"","level":"INFO"},{"logger":"state.kv","level":"DEBUG"}],"loggers":[]}
	// 400 {"error":"log: invalid: level \"loud\": want debug, info, warn or error, with an offset if need be, as in \"info+2\""}
}

func ExampleNamed() {
	logger := log.New(nil, log.Text(os.Stdout, &log.SinkOptions{ReplaceAttr: untimed}))
	log.Named(logger.WithGroup("order"), "shop.orders").Info("placed", "items", 3)
	// Output:
	// level=INFO msg=placed logger=shop.orders order.items=3
}

type cardNumber string

// Secrets are hidden by key, by type, and by their own Redacted method.
func ExampleRedaction() {
	logger := log.New(&log.Options{Redact: &log.Redaction{
		Keys:  []string{"tenant"},
		Types: []reflect.Type{reflect.TypeFor[cardNumber]()},
	}}, log.Text(os.Stdout, &log.SinkOptions{ReplaceAttr: untimed}))

	logger.Info("login", "user", "ann", "password", "hunter2", "tenant", "acme")
	logger.Info("paid", "card", cardNumber("4111 1111 1111 1111"))
	logger.Info("calling", "header", http.Header{"Authorization": {"Bearer x"}, "Accept": {"*/*"}})
	logger.Info("connected", "db", &url.URL{Scheme: "postgres", Host: "db", User: url.UserPassword("shop", "hunter2")})
	// Output:
	// level=INFO msg=login user=ann password=[redacted] tenant=[redacted]
	// level=INFO msg=paid card=[redacted]
	// level=INFO msg=calling header="map[Accept:[*/*] Authorization:[redacted]]"
	// level=INFO msg=connected db=postgres://shop:xxxxx@db
}

// Of a repeated message, the first few pass, then every nth. Errors always pass.
func ExampleSampling() {
	handler := log.NewHandler(&log.Options{Sampling: &log.Sampling{First: 2, Thereafter: 50, Tick: 1000 * time.Hour}},
		log.Text(os.Stdout, &log.SinkOptions{ReplaceAttr: untimed}))
	logger := slog.New(handler)
	for i := range 100 {
		logger.Info("cache miss", "i", i)
	}
	logger.Error("cache lost")
	fmt.Println("dropped:", handler.Stats().Sampled)
	// Output:
	// level=INFO msg="cache miss" i=0
	// level=INFO msg="cache miss" i=1
	// level=INFO msg="cache miss" i=51
	// level=ERROR msg="cache lost"
	// dropped: 97
}

// A log call does not wait for an async sink. Shutdown writes the queued records.
func ExampleAsync() {
	async := log.Async(log.Text(os.Stdout, &log.SinkOptions{ReplaceAttr: untimed}), &log.AsyncOptions{Capacity: 100})
	logger := log.New(nil, async)
	logger.Info("one")
	logger.Info("two")

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := async.Shutdown(ctx); err != nil {
		fmt.Println(err)
	}
	logger.Info("too late")
	fmt.Printf("%+v\n", async.Stats())
	// Output:
	// level=INFO msg=one
	// level=INFO msg=two
	// {Queued:0 Written:2 Failed:0 Dropped:1}
}

// A File rotates by itself. Here it is rotated explicitly, to show the resulting files.
func ExampleOpenFile() {
	dir, err := os.MkdirTemp("", "logs")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "shop.log")

	file, err := log.OpenFile(path, &log.FileOptions{MaxMegabytes: 50, RotateEvery: 24 * time.Hour, KeepFiles: 7, Compress: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	logger := log.New(nil, log.JSON(file, &log.SinkOptions{ReplaceAttr: untimed}))
	logger.Info("yesterday")
	err = file.Rotate()
	logger.Info("today")
	if err = errors.Join(err, file.Close()); err != nil {
		fmt.Println(err)
	}

	current, err := os.ReadFile(path)
	fmt.Print(string(current))
	rotated, globErr := filepath.Glob(filepath.Join(dir, "shop-*.log.gz"))
	fmt.Println(len(rotated), "rotated file", errors.Join(err, globErr))
	// Output:
	// {"level":"INFO","msg":"today"}
	// 1 rotated file <nil>
}

// Any slog.Handler is a sink; its errors are reported and counted.
func ExampleOptions_errorHandler() {
	full := log.JSON(failing{}, &log.SinkOptions{Name: "audit"})
	handler := log.NewHandler(&log.Options{ErrorHandler: func(err error) { fmt.Println(err) }}, full,
		log.Text(os.Stdout, &log.SinkOptions{ReplaceAttr: untimed}))
	slog.New(handler).Info("still here")
	fmt.Println("failed:", handler.Stats().Failed)
	// Output:
	// log: sink "audit": no space left on device
	// level=INFO msg="still here"
	// failed: 1
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }
