package memsync

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/go-os/go-os/state/sync/driver"
)

// TestSpaceForgets uses many names, and checks that nothing of them is left.
func TestSpaceForgets(t *testing.T) {
	ctx, d := t.Context(), New(nil)
	lease, err := d.Grant(ctx, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	for i := range 100 {
		name := fmt.Sprint("n", i)
		_ = d.Watch(ctx, name, func(driver.Holder) error { return enough })
		c := driver.Claim{Name: name, ID: "a", Lease: lease, Seats: 1}
		if c.Token, _, err = d.Acquire(ctx, c, i%2 == 0); err != nil {
			t.Fatal(err)
		}
		if i%3 != 0 {
			if err := d.Release(ctx, c); err != nil {
				t.Fatal(err)
			}
		}
	}
	watching, cancel := context.WithCancel(ctx)
	seen, ended := make(chan driver.Holder, 10), make(chan error)
	go func() {
		ended <- d.Watch(watching, "watched", func(h driver.Holder) error { seen <- h; return nil })
	}()
	<-seen
	if err := d.Revoke(ctx, lease); err != nil {
		t.Fatal(err)
	}
	if n := len(d.space.queues); n != 1 {
		t.Errorf("%d names are left, want the one that is watched", n)
	}
	lease, err = d.Grant(ctx, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := d.Acquire(ctx, driver.Claim{Name: "watched", ID: "a", Lease: lease, Seats: 1}, false)
	if err != nil {
		t.Fatal(err)
	}
	if h := <-seen; h.Token != token {
		t.Errorf("the watch shows token %d, want %d", h.Token, token)
	}
	cancel()
	<-ended
	if err := d.Revoke(ctx, lease); err != nil {
		t.Fatal(err)
	}
	if q, l := len(d.space.queues), len(d.space.leases); q != 0 || l != 0 {
		t.Errorf("%d names and %d leases are left", q, l)
	}
}
