package memkv_test

import (
	"fmt"
	"testing"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

// TestSlowConsumer stops a consumer for longer than the history lasts. Writers do not block, and the consumer resyncs to the latest
// state. A consumer without matching events in that time does not resync.
func TestSlowConsumer(t *testing.T) {
	const history = 16
	store := kv.New(memkv.New(&memkv.Options{History: history}), &kv.Options{Telemetry: telemetry.Off()})
	defer store.Close()
	put := func(key string, n int) {
		if _, err := store.Put(t.Context(), key, []byte(fmt.Sprint(n))); err != nil {
			t.Fatal(err)
		}
	}
	quiet := make(chan string, 8)
	placed := make(chan struct{})
	go func() {
		for ev := range store.WatchPrefix(t.Context(), "quiet/") {
			if quiet <- ev.Kind.String(); ev.Kind == kv.EventSynced {
				close(placed)
			}
		}
		close(quiet)
	}()
	<-placed
	var got []string
	for ev, err := range store.Watch(t.Context(), "k") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, ev.Kind.String()+string(ev.Item.Value))
		if len(got) == 1 {
			for n := range 10 * history {
				put("k", n)
			}
		}
		if len(got) == 4 {
			break
		}
	}
	if want := "[synced resync put159 synced]"; fmt.Sprint(got) != want {
		t.Errorf("the slow consumer sees %v, want %s", got, want)
	}
	put("quiet/k", 1)
	if first, second := <-quiet, <-quiet; first != "synced" || second != "put" {
		t.Errorf("the quiet consumer sees %s, %s; want synced, put", first, second)
	}
}
