package kv_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/memkv"
	"github.com/go-os/go-os/telemetry"
)

// set returns a change that sets a value unconditionally.
func set(value string) func(kv.Item) ([]byte, error) {
	return func(kv.Item) ([]byte, error) { return []byte(value), nil }
}

// fails returns a change that returns an error.
func fails(err error) func(kv.Item) ([]byte, error) {
	return func(kv.Item) ([]byte, error) { return []byte("must not be written"), err }
}

// TestUpdateResults covers each kind of result of change, for a key that exists and for one that does not.
func TestUpdateResults(t *testing.T) {
	soldOut := fmt.Errorf("sold out: %w", kv.ErrConflict) // not a conflict of the update
	for _, c := range []struct {
		name    string
		change  func(kv.Item) ([]byte, error)
		present string // value afterwards if the key existed with the value "old"; "" if it must be gone
		absent  string // the same if it did not exist
		err     error
	}{
		{"a value", set("new"), "new", "new", nil},
		{"SkipUpdate", fails(kv.SkipUpdate), "old", "", nil},
		{"DeleteItem", fails(fmt.Errorf("expired: %w", kv.DeleteItem)), "", "", nil},
		{"an error", fails(soldOut), "old", "", soldOut},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, nil).Namespace("orders")
			if _, err := s.Put(t.Context(), "present", []byte("old")); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			for key, want := range map[string]string{"present": c.present, "absent": c.absent} {
				checked := func(old kv.Item) ([]byte, error) {
					if old.Key != key || (old.Version != 0) != (key == "present") {
						t.Errorf("change is given %+v for the key %q", old, key)
					}
					return c.change(old)
				}
				version, err := s.Update(ctx, key, checked)
				if err != c.err { // returned unchanged
					t.Errorf("Update(%q) returns %v, want %v", key, err, c.err)
				}
				holds(t, s, key, want)
				if it, err := s.Get(t.Context(), key); err == nil && c.err == nil && it.Version != version {
					t.Errorf("Update(%q) returns version %d, the item has %d", key, version, it.Version)
				}
			}
		})
	}
}

// holds fails the test unless key has this value. An empty value means that no item may exist.
func holds(t *testing.T, s *kv.Store, key, want string) {
	t.Helper()
	it, err := s.Get(t.Context(), key)
	if want == "" && errors.Is(err, kv.ErrNotFound) {
		return
	}
	if err != nil || string(it.Value) != want {
		t.Errorf("%q is %q, error %v; want %q", key, it.Value, err, want)
	}
}

// TestUpdateErrors makes invalid requests. Update does not call change, and writes nothing.
func TestUpdateErrors(t *testing.T) {
	blind := kv.New(&limited{Driver: memkv.New(nil), caps: driver.Capabilities{System: "blind"}}, nil)
	small := kv.New(&limited{Driver: memkv.New(nil), caps: driver.Capabilities{System: "small", Abilities: driver.CAS, MaxValue: 4}}, nil)
	closed := kv.New(memkv.New(nil), nil)
	_ = closed.Close()
	s, ctx := open(t, nil), t.Context()
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	never := func(kv.Item) ([]byte, error) { t.Error("change is called"); return nil, nil }
	update := func(s *kv.Store, ctx context.Context, key string, change func(kv.Item) ([]byte, error), opts ...kv.PutOption) error {
		_, err := s.Update(ctx, key, change, opts...)
		return err
	}
	for want, err := range map[string]error{
		`kv: update "k": unsupported operation: blind cannot do: cas`:                                     update(blind, ctx, "k", never),
		`kv: update "": invalid: the key is empty`:                                                        update(s, ctx, "", never),
		`kv: update "k": invalid: no function for the new value`:                                          update(s, ctx, "k", nil),
		`kv: update "k": invalid: a TTL of -1ns: it must be above zero`:                                   update(s, ctx, "k", never, kv.TTL(-1)),
		`kv: update "k": closed`:                                                                          update(closed, ctx, "k", never),
		`kv: update "k": context canceled`:                                                                update(s, canceled, "k", never),
		`kv: update "k": too large: a value of 5 bytes, where small takes 4`:                              update(small, ctx, "k", set("12345")),
		`kv: update "k": invalid: Update makes its own condition: give it neither IfAbsent nor IfVersion`: update(s, ctx, "k", never, kv.IfVersion(1)),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	holds(t, s, "k", "")
}

// TestTypedUpdateOfBadValue updates a value that is not a T. The update returns an error and leaves the value unchanged.
func TestTypedUpdateOfBadValue(t *testing.T) {
	s := open(t, nil)
	if _, err := s.Put(t.Context(), "k", []byte("{")); err != nil {
		t.Fatal(err)
	}
	_, err := kv.NewTyped[cart](s, nil).Update(t.Context(), "k", func(old kv.TypedItem[cart]) (cart, error) { return old.Value, nil })
	if !errors.Is(err, kv.ErrInvalid) || !strings.HasPrefix(err.Error(), `kv: update "k": `) || strings.Count(err.Error(), "kv:") != 1 {
		t.Errorf("Update: %v", err)
	}
	holds(t, s, "k", "{")
}

// TestUpdateTTL checks that an update without TTL makes the item permanent, and that one with TTL restarts it.
func TestUpdateTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := kv.New(memkv.New(nil), &kv.Options{Telemetry: telemetry.Off()})
		defer s.Close()
		for key, opts := range map[string][]kv.PutOption{"renewed": {kv.TTL(time.Minute)}, "permanent": nil} {
			if _, err := s.Put(t.Context(), key, []byte("1"), kv.TTL(time.Minute)); err != nil {
				t.Fatal(err)
			}
			<-time.After(30 * time.Second)
			if _, err := s.Update(t.Context(), key, set("2"), opts...); err != nil {
				t.Fatal(err)
			}
			<-time.After(59 * time.Second)
			holds(t, s, key, "2")
		}
		<-time.After(time.Minute)
		holds(t, s, "renewed", "")
		holds(t, s, "permanent", "2")
	})
}

// contested is an engine on which another writer always comes first.
type contested struct{ driver.Driver }

func (contested) Put(context.Context, driver.PutRequest) (driver.Version, error) {
	return 0, driver.ErrConflict
}

// TestUpdateEndsWithContext always loses. The update ends with its context, and waits between its attempts.
func TestUpdateEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spans := tracetest.NewSpanRecorder()
		p := telemetry.Off()
		p.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
		s := kv.New(contested{memkv.New(nil)}, &kv.Options{Telemetry: p})
		defer s.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began, attempts := time.Now(), 0
		_, err := s.Update(ctx, "k", func(kv.Item) ([]byte, error) {
			if attempts++; attempts == 10_000 {
				return nil, errors.New("it does not wait")
			}
			return nil, nil
		})
		want := fmt.Sprintf(`kv: update "k": context deadline exceeded, after %d conflicts with other writers`, attempts)
		if err == nil || err.Error() != want || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("the update ended after %s", took)
		}
		if attempts < 100 || attempts > 220 { // 50 to 100 ms each once the backoff is at its maximum
			t.Errorf("%d attempts in 10 s", attempts)
		}
		if span := spans.Ended()[0]; len(spans.Ended()) != 1 || attributeOf(span, "goos.kv.update.attempts") != strconv.Itoa(attempts) {
			t.Errorf("%d spans, the first with %v; want one with the %d attempts", len(spans.Ended()), span.Attributes(), attempts)
		}
	})
}

func attributeOf(span sdktrace.ReadOnlySpan, key string) string {
	for _, a := range span.Attributes() {
		if string(a.Key) == key {
			return a.Value.String()
		}
	}
	return ""
}

// TestUpdateContention lets many writers add to one number concurrently. No update may be lost.
func TestUpdateContention(t *testing.T) {
	t.Run("memkv", func(t *testing.T) { contend(t, open(t, nil), 16, 200) })
	t.Run("etcd", func(t *testing.T) { contend(t, openEtcd(t).store, 8, 25) })
}

func contend(t *testing.T, s *kv.Store, writers, times int) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	numbers := kv.NewTyped[int](s, nil)
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for range times {
				add := func(old kv.TypedItem[int]) (int, error) { return old.Value + 1, nil }
				if _, err := numbers.Update(ctx, "sum", add); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	if it, err := numbers.Get(ctx, "sum"); err != nil || it.Value != writers*times {
		t.Errorf("the sum is %d, error %v; want %d", it.Value, err, writers*times)
	}
}

// TestUpdateDeletesWhatItRead deletes a key that did not exist when it was read, and that another writer then creates.
func TestUpdateDeletesWhatItRead(t *testing.T) {
	s := open(t, nil)
	_, err := s.Update(t.Context(), "k", func(kv.Item) ([]byte, error) {
		if _, err := s.Put(t.Context(), "k", []byte("other")); err != nil {
			t.Error(err)
		}
		return nil, kv.DeleteItem
	})
	if err != nil {
		t.Error(err)
	}
	holds(t, s, "k", "other")
}
