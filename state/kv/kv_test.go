package kv_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
	"github.com/go-os/go-os/telemetry/telemetrytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, opts *kv.Options) *kv.Store {
	s := kv.New(memkv.New(nil), opts)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// limited is memkv with few abilities and tight limits.
type limited struct {
	driver.Driver
	caps driver.Capabilities
	got  []driver.PutRequest
}

func (l *limited) Capabilities() driver.Capabilities { return l.caps }

func (l *limited) Put(ctx context.Context, req driver.PutRequest) (driver.Version, error) {
	l.got = append(l.got, req)
	return l.Driver.Put(ctx, req)
}

func TestTTLIsRoundedUp(t *testing.T) {
	d := &limited{Driver: memkv.New(nil), caps: driver.Capabilities{
		System: "coarse", Abilities: driver.Expiry,
		TTL: driver.TTLLimits{Min: 2 * time.Second, Max: time.Minute, Granularity: time.Second},
	}}
	s := kv.New(d, nil)
	defer s.Close()
	for _, c := range []struct{ asked, sent time.Duration }{
		{2 * time.Second, 2 * time.Second},
		{2*time.Second + 1, 3 * time.Second},
		{59*time.Second + time.Millisecond, time.Minute},
		{time.Minute, time.Minute},
		{2*time.Second - 1, 0},
		{time.Minute + 1, 0},
	} {
		d.got = nil
		_, err := s.Put(t.Context(), "k", nil, kv.TTL(c.asked))
		switch {
		case c.sent == 0:
			if !errors.Is(err, kv.ErrInvalid) || len(d.got) != 0 {
				t.Errorf("a TTL of %s: error %v, %d requests; want ErrInvalid and none", c.asked, err, len(d.got))
			}
		case err != nil || len(d.got) != 1 || d.got[0].TTL != c.sent:
			t.Errorf("a TTL of %s: error %v, requests %v; want one of %s", c.asked, err, d.got, c.sent)
		}
	}
}

// TestErrors checks the texts of errors: operation, key, reason and remedy.
func TestErrors(t *testing.T) {
	d := &limited{Driver: memkv.New(nil), caps: driver.Capabilities{System: "tight", MaxKey: 100, MaxValue: 4}}
	s := kv.New(d, nil)
	ctx := t.Context()
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	for _, c := range []struct {
		want string
		err  func() error
	}{
		{`kv: get "carts/7": not found`, func() error { _, err := s.Get(ctx, "carts/7"); return err }},
		{`kv: get "": invalid: the key is empty`, func() error { _, err := s.Get(ctx, ""); return err }},
		{`kv: put "k": too large: a value of 5 bytes, where tight takes 4`, func() error {
			_, err := s.Put(ctx, "k", []byte("12345"))
			return err
		}},
		{`kv: delete "` + strings.Repeat("x", 64) + `"…: too large: a key of 101 bytes, where tight takes 100`, func() error {
			return s.Delete(ctx, strings.Repeat("x", 101))
		}},
		{`kv: put "k": unsupported operation: tight cannot do: cas`, func() error { _, err := s.Put(ctx, "k", nil, kv.IfAbsent()); return err }},
		{`kv: require: unsupported operation: tight cannot do: list, watch`, func() error { return s.Require(kv.Watch, kv.List) }},
		{`kv: get "k": context canceled`, func() error { _, err := s.Get(canceled, "k"); return err }},
		{`kv: put_many: 1 of 1 items failed, the first: kv: put_many "k": closed`, func() error {
			broken := kv.New(failing{memkv.New(nil)}, nil)
			_, err := broken.PutMany(ctx, []kv.Entry{{Key: "k"}})
			return err
		}},
		{`kv: ping: closed`, func() error { _ = s.Close(); return s.Ping(ctx) }},
	} {
		if err := c.err(); err == nil || err.Error() != c.want {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
}

// failing refuses every write.
type failing struct{ driver.Driver }

func (failing) Capabilities() driver.Capabilities { return driver.Capabilities{System: "failing"} }

func (failing) Put(context.Context, driver.PutRequest) (driver.Version, error) {
	return 0, driver.ErrClosed
}

func TestNamespace(t *testing.T) {
	s := open(t, nil)
	ctx := t.Context()
	prod := s.Namespace("prod")
	orders, orders2 := prod.Namespace("orders"), s.Namespace("prod/orders2")
	for store, value := range map[*kv.Store]string{s: "root", prod: "prod", orders: "orders", orders2: "orders2"} {
		if _, err := store.Put(ctx, "k", []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	for key, want := range map[string]string{"k": "root", "prod/k": "prod", "prod/orders/k": "orders", "prod/orders2/k": "orders2"} {
		if it, err := s.Get(ctx, key); err != nil || string(it.Value) != want {
			t.Errorf("%q holds %q, error %v; want %q", key, it.Value, err, want)
		}
	}
	if it, err := orders.Get(ctx, "k"); err != nil || it.Key != "k" || string(it.Value) != "orders" {
		t.Errorf("the namespace has %q = %q, error %v", it.Key, it.Value, err)
	}
	var listed []string
	for it, err := range prod.List(ctx, "") {
		listed = append(listed, fmt.Sprint(it.Key, err))
	}
	if got := strings.Join(listed, " "); got != "k<nil> orders/k<nil> orders2/k<nil>" {
		t.Errorf("the namespace lists %s", got)
	}
	results, err := orders.GetMany(ctx, []string{"k", "none"})
	if err != nil || results[0].Item.Key != "k" || !errors.Is(results[1].Err, kv.ErrNotFound) {
		t.Errorf("GetMany in a namespace: %v, error %v", results, err)
	}
	for ev, err := range orders.Watch(ctx, "k", kv.Current()) {
		if err != nil || ev.Kind == kv.EventPut && ev.Item.Key != "k" {
			t.Errorf("a watch in the namespace says %v, error %v", ev, err)
		}
		if ev.Kind == kv.EventSynced {
			break
		}
	}
	_, err = s.Namespace("").Get(ctx, "k")
	if !errors.Is(err, kv.ErrInvalid) {
		t.Errorf("a namespace without a name: %v", err)
	}
	if got := orders.Capabilities().MaxKey; got != s.Capabilities().MaxKey-len("prod/orders/") {
		t.Errorf("a namespace says that keys may have %d bytes", got)
	}
	_, err = orders.Put(ctx, strings.Repeat("k", orders.Capabilities().MaxKey+1), nil)
	if !errors.Is(err, kv.ErrTooLarge) {
		t.Errorf("a key that is too long with its namespace: %v", err)
	}
}

// reads records the keys that the driver is asked to read.
type reads struct {
	driver.Driver
	keys []string
}

func (r *reads) Get(ctx context.Context, key string) (driver.Item, error) {
	r.keys = append(r.keys, key)
	return r.Driver.Get(ctx, key)
}

// TestNamespacePings checks that a ping stays inside the namespace. A client may lack permission for other keys.
func TestNamespacePings(t *testing.T) {
	d := &reads{Driver: memkv.New(nil)}
	s := kv.New(d, nil)
	defer s.Close()
	if err := s.Namespace("prod").Namespace("orders").Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"prod/orders/ping"}; !slices.Equal(d.keys, want) {
		t.Errorf("the driver was asked for %q, want %q", d.keys, want)
	}
}

func TestNamespaceCloses(t *testing.T) {
	s := kv.New(memkv.New(nil), nil)
	outer := s.Namespace("a")
	inner := outer.Namespace("b")
	ended := make(chan error, 1)
	go func() {
		for _, err := range inner.WatchPrefix(context.Background(), "") {
			if err != nil {
				ended <- err
			}
		}
	}()
	if err := outer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, kv.ErrClosed) {
		t.Errorf("a watch of a namespace inside ends with %v", err)
	}
	if _, err := inner.Get(t.Context(), "k"); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("Get inside a closed namespace: %v", err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("closing a namespace closed its store: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

type cart struct {
	Owner string
	Items int
}

func TestTyped(t *testing.T) {
	s := open(t, nil)
	ctx := t.Context()
	carts := kv.NewTyped[cart](s.Namespace("carts"), nil)
	v, err := carts.Put(ctx, "7", cart{"ada", 1}, kv.TTL(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	it, err := carts.Get(ctx, "7")
	if err != nil || it.Value != (cart{"ada", 1}) || it.Key != "7" || it.Version != v || it.TTL <= 0 {
		t.Errorf("Get = %+v, error %v", it, err)
	}
	if _, err := s.Put(ctx, "carts/8", []byte("{")); err != nil {
		t.Fatal(err)
	}
	if _, err := carts.Get(ctx, "8"); !errors.Is(err, kv.ErrInvalid) || !strings.Contains(err.Error(), "kv_test.cart") {
		t.Errorf("Get of what is no cart: %v", err)
	}
	var listed []string
	for it, err := range carts.List(ctx, "") {
		listed = append(listed, fmt.Sprint(it.Key, err == nil))
	}
	if got := strings.Join(listed, " "); got != "7true 8false" {
		t.Errorf("List shows %s, want the broken one with an error, and no end at it", got)
	}
	watched := 0
	for ev, err := range carts.WatchPrefix(ctx, "", kv.Current()) {
		if watched++; err == nil && ev.Kind == kv.EventPut && ev.Item.Value.Owner != "ada" {
			t.Errorf("the watch shows %+v", ev)
		}
		if ev.Kind == kv.EventSynced {
			break
		}
	}
	if watched != 4 {
		t.Errorf("%d events, want resync, two puts, synced", watched)
	}
	unencodable := kv.NewTyped[func()](s, nil)
	if _, err := unencodable.Put(ctx, "f", func() {}); !errors.Is(err, kv.ErrInvalid) {
		t.Errorf("Put of what JSON cannot hold: %v", err)
	}
}

// TestUpdate lets other writers interfere with an update. No write may be lost.
func TestUpdate(t *testing.T) {
	s := open(t, nil)
	ctx := t.Context()
	carts := kv.NewTyped[cart](s, nil)
	calls := 0
	add := func(old kv.TypedItem[cart]) (cart, error) {
		if calls++; calls <= 3 { // another writer is faster, three times
			if _, err := carts.Put(ctx, "k", cart{Items: 10 * calls}); err != nil {
				t.Error(err)
			}
		}
		return cart{Items: old.Value.Items + 1}, nil
	}
	if _, err := carts.Update(ctx, "k", add); err != nil {
		t.Fatal(err)
	}
	if it, err := carts.Get(ctx, "k"); err != nil || it.Value.Items != 31 || calls != 4 {
		t.Errorf("after %d attempts %+v, error %v; want 31 after 4", calls, it.Value, err)
	}
	refusal := errors.New("sold out")
	if _, err := carts.Update(ctx, "k", func(kv.TypedItem[cart]) (cart, error) { return cart{}, refusal }); !errors.Is(err, refusal) {
		t.Errorf("a change that refuses: %v", err)
	}
}

// TestLeaseOutage uses an engine that does not answer for longer than the lease's lifetime. Run returns when the lease expires, not
// later.
func TestLeaseOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &mute{Driver: memkv.New(nil)}
		s := kv.New(d, &kv.Options{Telemetry: telemetry.Off()})
		defer s.Close()
		l, err := s.Lease(t.Context(), 30*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		d.after = began.Add(time.Minute)
		err = l.Run(t.Context())
		if !errors.Is(err, kv.ErrNotFound) || !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("Run: %v", err)
		}
		if took := time.Since(began); took < 80*time.Second || took > 90*time.Second {
			t.Errorf("Run gave up after %s; the last renewal was at most 60 s after the start, and holds for 30 s", took)
		}
	})
}

// TestRevokeEndsRun revokes a lease while Run renews it. Run does not report a loss.
func TestRevokeEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recorder := telemetrytest.New()
		s := kv.New(memkv.New(nil), &kv.Options{Telemetry: recorder.Providers})
		defer s.Close()
		l, err := s.Lease(t.Context(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- l.Run(t.Context()) }()
		synctest.Wait()
		if err := l.Run(t.Context()); !errors.Is(err, kv.ErrInvalid) {
			t.Errorf("a second Run: %v, want ErrInvalid", err)
		}
		began := time.Now()
		if err := l.Revoke(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil || time.Since(began) > 0 {
			t.Errorf("Run after Revoke: %v, after %v", err, time.Since(began))
		}
		if events := recorder.Events(); len(events) > 0 {
			t.Errorf("events %v", events)
		}
	})
}

// stuck is an engine that returns its first page again as the second.
type stuck struct{ *memkv.Driver }

func (d stuck) List(ctx context.Context, req driver.ListRequest) (driver.Page, error) {
	req.Next = nil
	return d.Driver.List(ctx, req)
}

// TestPagesThatDoNotAdvance checks that List returns an error when pages repeat.
func TestPagesThatDoNotAdvance(t *testing.T) {
	s := kv.New(stuck{memkv.New(nil)}, &kv.Options{PageSize: 2, Telemetry: telemetry.Off()})
	defer s.Close()
	for _, key := range []string{"a", "b", "c"} {
		if _, err := s.Put(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	var failure error
	for it, err := range s.List(t.Context(), "") {
		if failure = err; err == nil {
			got = append(got, it.Key)
		}
	}
	want := `kv: list: the driver returned "a" after "b": pages must be in the order of the keys`
	if len(got) != 2 || failure == nil || failure.Error() != want {
		t.Errorf("%q, %v; want two items and %q", got, failure, want)
	}
}

// mute stops renewing leases after a while.
type mute struct {
	*memkv.Driver
	after time.Time
}

func (m *mute) Renew(ctx context.Context, id driver.LeaseID) error {
	if time.Now().After(m.after) {
		return driver.ErrUnavailable
	}
	return m.Driver.Renew(ctx, id)
}
