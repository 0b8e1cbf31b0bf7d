package etcdkv_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/kv/driver"
)

// TestWatchOnALaggingServer starts watches on a server that has just missed writes. They show none of the earlier writes.
func TestWatchOnALaggingServer(t *testing.T) {
	t.Parallel()
	cluster := testenv.EtcdCluster(t, 3)
	leader, follower := cluster.Leader(), cluster.Follower()
	ahead, behind := connect(t, leader.Endpoint()), connect(t, follower.Endpoint())
	defer ahead.Close()
	defer behind.Close()
	put := func(s driver.Driver, key string) {
		if _, err := s.Put(t.Context(), driver.PutRequest{Key: key}); err != nil {
			t.Fatal(err)
		}
	}
	put(behind, "connected")
	for round := range 5 {
		follower.Pause()
		for i := range 50 {
			put(ahead, fmt.Sprint("before", i))
		}
		follower.Resume()

		after := fmt.Sprint("after", round)
		ctx, enough := context.WithCancel(t.Context())
		var seen []string
		err := behind.Watch(ctx, driver.WatchRequest{}, func(ev driver.Event) error {
			if ev.Kind == driver.EventSynced {
				put(ahead, after)
				return nil
			}
			if seen = append(seen, ev.Item.Key); ev.Item.Key == after {
				enough()
			}
			return nil
		})
		if ctx.Err() == nil {
			t.Fatalf("Watch: %v", err)
		}
		if !slices.Equal(seen, []string{after}) {
			t.Errorf("round %d: the watch shows %d events, such as %q; want %q alone", round, len(seen), seen[0], after)
		}
	}
}
