package consulsync

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

	"github.com/go-os/go-os/internal/tooling/testenv"
	"github.com/go-os/go-os/state/sync/driver"
)

// heldLists counts reads of whole queues and blocks them until they are released. It also counts the blocking queries of single claims.
type heldLists struct {
	lists   atomic.Int64
	queries atomic.Int64
	letGo   chan struct{}
}

func (h *heldLists) RoundTrip(r *http.Request) (*http.Response, error) {
	switch query := r.URL.Query(); {
	case query.Has("index"):
		h.queries.Add(1)
	case query.Has("recurse"):
		h.lists.Add(1)
		select {
		case <-h.letGo:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	return http.DefaultTransport.RoundTrip(r)
}

// asked returns the number of callers that wait for the current read of a name, and for the next one.
func (r *reads) asked(name string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for turn := r.running[name]; turn != nil; turn = turn.next {
		n += turn.callers
	}
	return n
}

// TestWaitersShareReads lets many waiters of one driver read their queue while a read of it is in progress. Two reads serve all of them.
func TestWaitersShareReads(t *testing.T) {
	t.Parallel()
	held := &heldLists{letGo: make(chan struct{})}
	config := api.DefaultNonPooledConfig()
	config.Address = testenv.Consul(t).Addr(0)
	config.HttpClient = &http.Client{Transport: held}
	client, err := api.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	d := New(client, nil)
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
	gaveUp, giveUp := context.WithTimeout(t.Context(), 100*time.Millisecond) // a caller that gives up does not affect the others
	defer giveUp()
	if err := d.Await(gaveUp, owner); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Await: %v", err)
	}
	testenv.Eventually(t, 10*time.Second, "all waiters ask", func() error {
		if n := d.reads.asked("m"); n != waiters {
			return fmt.Errorf("%d of %d", n, waiters)
		}
		return nil
	})
	close(held.letGo)
	testenv.Eventually(t, 10*time.Second, "each waiter waits for the claim before its own", func() error {
		if n := held.queries.Load(); n != waiters {
			return fmt.Errorf("%d of %d", n, waiters)
		}
		return nil
	})
	if n := held.lists.Load(); n > 2 {
		t.Errorf("%d waiters read the queue %d times, want 2", waiters, n)
	}
	cancel()
	group.Wait()
}
