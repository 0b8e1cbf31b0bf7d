// Package replacetest has the test of a key-value store whose engine is replaced under a watch.
package replacetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv"
)

// Run watches an empty store while replace puts one without data in its place. The watch must show the new state, and later changes.
func Run(t *testing.T, store *kv.Store, replace func()) {
	t.Helper()
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
	replace()
	put("b", "n")
	becomes("bn")
	put("z")
	becomes("bnz")
}
