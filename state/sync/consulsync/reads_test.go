package consulsync_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	gosync "sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/go-os/go-os/internal/testenv"
	"github.com/go-os/go-os/state/sync/consulsync"
	"github.com/go-os/go-os/state/sync/driver"
)

// heldLists counts the reads of whole queues, and holds them back until they are let go.
type heldLists struct {
	lists atomic.Int64
	letGo chan struct{}
}

func (h *heldLists) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Query().Has("recurse") {
		h.lists.Add(1)
		select {
		case <-h.letGo:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	return http.DefaultTransport.RoundTrip(r)
}

// TestWaitersShareReads has many waiters of one driver read their queue while a read of it is under way. Two reads serve all of them.
func TestWaitersShareReads(t *testing.T) {
	held := &heldLists{letGo: make(chan struct{})}
	config := api.DefaultNonPooledConfig()
	config.Address = testenv.Consul(t).Addr(0)
	config.HttpClient = &http.Client{Transport: held}
	client, err := api.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	d := consulsync.New(client, nil)
	defer func() { _ = d.Close() }()
	lease, err := d.Grant(t.Context(), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	owner := driver.Claim{Name: "m", ID: "owner", Lease: lease, Seats: 1}
	if _, granted, err := d.Acquire(t.Context(), owner, false); err != nil || !granted {
		t.Fatal(granted, err)
	}

	const waiters = 50
	ctx, cancel := context.WithCancel(t.Context())
	var group gosync.WaitGroup
	for i := range waiters {
		c := driver.Claim{Name: "m", ID: fmt.Sprint("waiter", i), Lease: lease, Seats: 1}
		token, granted, err := d.Acquire(t.Context(), c, false)
		if err != nil || granted {
			t.Fatal(granted, err)
		}
		c.Token = token
		group.Go(func() {
			if err := d.Await(ctx, c); !errors.Is(err, context.Canceled) {
				t.Errorf("Await: %v", err)
			}
		})
	}
	gaveUp, giveUp := context.WithTimeout(t.Context(), 100*time.Millisecond) // one that leaves takes no result from the others
	defer giveUp()
	if err := d.Await(gaveUp, owner); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Await: %v", err)
	}
	time.Sleep(100 * time.Millisecond) // for the last waiters to ask
	close(held.letGo)
	time.Sleep(500 * time.Millisecond) // for reads that should not be
	if n := held.lists.Load(); n > 2 {
		t.Errorf("%d waiters read the queue %d times, want 2", waiters, n)
	}
	cancel()
	group.Wait()
}
