package natskv_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/telemetry"
)

// TestBucketReplaced recreates the bucket under a watch whose connection stays. The watch shows the new state.
func TestBucketReplaced(t *testing.T) {
	t.Parallel()
	s := connect(t, testenv.NATS(t).URL())
	renew(t, s.js, 1)
	store := kv.New(s, &kv.Options{Telemetry: telemetry.Off()})
	defer store.Close()
	put := func(keys ...string) {
		t.Helper()
		for _, key := range keys {
			testenv.Eventually(t, 20*time.Second, "a write", func() error {
				_, err := store.Put(t.Context(), key, []byte("0"))
				return err
			})
		}
	}
	put("a", "b", "c")
	mirror, err := kv.NewMirror[int](store, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	work.Go(func() { _ = mirror.Run(ctx) })
	becomes := func(want string) {
		t.Helper()
		testenv.Eventually(t, time.Minute, "the watch shows "+want, func() error {
			got := ""
			for item := range mirror.All() {
				got += item.Key
			}
			if got != want {
				return fmt.Errorf("it shows %q", got)
			}
			return nil
		})
	}
	becomes("abc")
	renew(t, s.js, 1)
	put("b", "n")
	becomes("bn")
	put("z")
	becomes("bnz")
}
