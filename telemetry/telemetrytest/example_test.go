package telemetrytest_test

import (
	"context"
	"fmt"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry/telemetrytest"
)

func Example() {
	ctx := context.Background()
	recorded := telemetrytest.New()
	store := kv.New(memkv.New(nil), &kv.Options{Name: "carts", Telemetry: recorded.Providers})
	defer store.Close()
	_, _ = store.Put(ctx, "cart/7", []byte("two apples"))
	_, _ = store.Get(ctx, "cart/8")

	for _, span := range recorded.Spans() {
		fmt.Println(span.Name, span.Attributes["goos.kv.key"], span.Attributes["error.type"])
	}
	points, err := recorded.Points(ctx)
	if err != nil {
		fmt.Println(err)
	}
	for _, point := range points {
		fmt.Println(point.Name, point.Count)
	}
	// Output:
	// put carts cart/7 <nil>
	// get carts cart/8 not_found
	// db.client.operation.duration 1
	// db.client.operation.duration 1
}
