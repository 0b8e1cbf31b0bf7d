package kv_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
)

func Example() {
	ctx := context.Background()
	store := kv.New(memkv.New(nil), &kv.Options{Name: "carts"})
	defer store.Close()

	if _, err := store.Put(ctx, "cart/7", []byte("two apples")); err != nil {
		fmt.Println(err)
		return
	}
	item, err := store.Get(ctx, "cart/7")
	fmt.Printf("%s: %s, %v\n", item.Key, item.Value, err)

	_, err = store.Get(ctx, "cart/8")
	fmt.Println(errors.Is(err, kv.ErrNotFound), err)
	// Output:
	// cart/7: two apples, <nil>
	// true kv: get "cart/8": not found
}

func ExampleStore_Require() {
	store := kv.New(memkv.New(nil), nil)
	defer store.Close()
	fmt.Println(store.Require(kv.CAS, kv.Watch))
	fmt.Println(store.Require(kv.CAS, kv.Durable))
	// Output:
	// <nil>
	// kv: require: unsupported operation: memory cannot do: durable
}

func ExampleStore_Capabilities() {
	store := kv.New(memkv.New(nil), nil)
	defer store.Close()
	caps := store.Capabilities()
	fmt.Println(caps.System, caps.Has(kv.CAS|kv.List), caps.TTL.Min)
	// Output: memory true 1ms
}

// Compare-and-set: of two writers that have read the same version, only one succeeds.
func ExampleIfVersion() {
	ctx := context.Background()
	store := kv.New(memkv.New(nil), nil)
	defer store.Close()

	v, _ := store.Put(ctx, "stock", []byte("10"))
	_, first := store.Put(ctx, "stock", []byte("9"), kv.IfVersion(v))
	_, second := store.Put(ctx, "stock", []byte("8"), kv.IfVersion(v))
	fmt.Println(first)
	fmt.Println(second)
	// Output:
	// <nil>
	// kv: put "stock": conflict
}

func ExampleIfAbsent() {
	ctx := context.Background()
	store := kv.New(memkv.New(nil), nil)
	defer store.Close()

	_, first := store.Put(ctx, "order/42", []byte("mine"), kv.IfAbsent())
	_, second := store.Put(ctx, "order/42", []byte("yours"), kv.IfAbsent())
	fmt.Println(first, second)
	// Output: <nil> kv: put "order/42": conflict
}

func ExampleTTL() {
	ctx := context.Background()
	store := kv.New(memkv.New(nil), nil)
	defer store.Close()

	_, err := store.Put(ctx, "session", []byte("ada"), kv.TTL(time.Hour))
	item, _ := store.Get(ctx, "session")
	fmt.Println(err, item.TTL > 59*time.Minute)

	_, err = store.Put(ctx, "session", []byte("ada"), kv.TTL(time.Microsecond))
	fmt.Println(err)
	// Output:
	// <nil> true
	// kv: put "session": invalid: a TTL of 1µs, where memory takes 1ms or more
}

func ExampleStore_Delete() {
	ctx := context.Background()
	store := kv.New(memkv.New(nil), nil)
	defer store.Close()

	v, _ := store.Put(ctx, "k", []byte("x"))
	fmt.Println(store.Delete(ctx, "k", kv.IfVersion(v)))
	fmt.Println(store.Delete(ctx, "k")) // it need not exist
	// Output:
	// <nil>
	// <nil>
}

func ExampleStore_List() {
	ctx := context.Background()
	store := kv.New(memkv.New(nil), nil)
	defer store.Close()

	for _, key := range []string{"user/grace", "user/ada", "group/staff"} {
		_, _ = store.Put(ctx, key, []byte("x"))
	}
	for item, err := range store.List(ctx, "user/") {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(item.Key)
	}
	// Output:
	// user/ada
	// user/grace
}

// WatchPrefix keeps a copy of the store's content up to date, also across lost connections.
func ExampleStore_WatchPrefix() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	store := kv.New(memkv.New(nil), nil)
	defer store.Close()
	_, _ = store.Put(ctx, "node/a", []byte("10.0.0.1"))

	view, unseen := map[string]string{}, map[string]bool{}
	for event, err := range store.WatchPrefix(ctx, "node/", kv.Current()) {
		if err != nil {
			fmt.Println(err)
			return
		}
		switch event.Kind {
		case kv.EventPut:
			view[event.Item.Key] = string(event.Item.Value)
			delete(unseen, event.Item.Key)
		case kv.EventDelete:
			delete(view, event.Item.Key)
		case kv.EventResync:
			for key := range view {
				unseen[key] = true
			}
		case kv.EventSynced:
			for key := range unseen {
				delete(view, key)
			}
			_, _ = store.Put(ctx, "node/b", []byte("10.0.0.2"))
		}
		fmt.Println(event.Kind, view)
		if len(view) == 2 {
			break
		}
	}
	// Output:
	// resync map[]
	// put map[node/a:10.0.0.1]
	// synced map[node/a:10.0.0.1]
	// put map[node/a:10.0.0.1 node/b:10.0.0.2]
}

// A watch resumes where another one ended.
func ExampleFrom() {
	ctx := context.Background()
	store := kv.New(memkv.New(nil), nil)
	defer store.Close()

	seen, _ := store.Put(ctx, "price", []byte("10"))
	_, _ = store.Put(ctx, "price", []byte("11"))
	_, _ = store.Put(ctx, "price", []byte("12"))
	for event, err := range store.Watch(ctx, "price", kv.From(seen)) {
		if err != nil {
			fmt.Println(err)
			return
		}
		if event.Kind == kv.EventPut {
			fmt.Println(string(event.Item.Value))
		}
		if string(event.Item.Value) == "12" {
			break
		}
	}
	// Output:
	// 11
	// 12
}

func ExampleStore_PutMany() {
	ctx := context.Background()
	store := kv.New(memkv.New(nil), nil)
	defer store.Close()

	_, err := store.PutMany(ctx, []kv.Entry{
		{Key: "a", Value: []byte("1")},
		{Key: "b", Value: []byte("2"), Options: []kv.PutOption{kv.IfAbsent()}},
	})
	fmt.Println(err)
	results, err := store.GetMany(ctx, []string{"a", "b", "c"})
	fmt.Println(err)
	for _, r := range results {
		fmt.Printf("%s=%s %v\n", r.Item.Key, r.Item.Value, r.Err)
	}
	// Output:
	// <nil>
	// <nil>
	// a=1 <nil>
	// b=2 <nil>
	// c= kv: get_many "c": not found
}

func ExampleNamespace() {
	ctx := context.Background()
	store := kv.New(memkv.New(nil), nil)
	defer store.Close()

	orders := store.Namespace("prod/orders")
	_, _ = orders.Put(ctx, "42", []byte("paid"))
	item, err := store.Get(ctx, "prod/orders/42")
	fmt.Println(string(item.Value), err)
	// Output: paid <nil>
}

func ExampleNewTyped() {
	ctx := context.Background()
	store := kv.New(memkv.New(nil), nil)
	defer store.Close()

	type account struct {
		Owner   string
		Balance int
	}
	accounts := kv.NewTyped[account](store, nil) // as JSON
	_, _ = accounts.Put(ctx, "1", account{Owner: "ada", Balance: 10})
	_, err := accounts.Update(ctx, "1", func(old kv.TypedItem[account]) (account, error) {
		old.Value.Balance += 5
		return old.Value, nil
	})
	item, _ := accounts.Get(ctx, "1")
	fmt.Println(item.Value.Owner, item.Value.Balance, err)
	// Output: ada 15 <nil>
}

// An update deletes an item that becomes empty, and skips one that does not exist.
func ExampleStore_Update() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	store := kv.New(memkv.New(nil), nil)
	defer store.Close()
	_, _ = store.Put(ctx, "seats", []byte("xx"))

	take := func(old kv.Item) ([]byte, error) {
		switch len(old.Value) {
		case 0:
			return nil, kv.SkipUpdate
		case 1:
			return nil, kv.DeleteItem
		default:
			return old.Value[1:], nil
		}
	}
	for range 3 {
		_, err := store.Update(ctx, "seats", take)
		item, _ := store.Get(ctx, "seats")
		fmt.Printf("%q %v\n", item.Value, err)
	}
	// Output:
	// "x" <nil>
	// "" <nil>
	// "" <nil>
}

// Run fills a mirror. Reads of it need no I/O.
func ExampleMirror() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	store := kv.New(memkv.New(nil), nil)
	defer store.Close()
	_, _ = store.Put(ctx, "weight/eu", []byte("70"))
	_, _ = store.Put(ctx, "weight/us", []byte("thirty"))

	mirror, err := kv.NewMirror[int](store, "weight/", nil) // as JSON
	if err != nil {
		fmt.Println(err)
		return
	}
	ran := make(chan error)
	go func() { ran <- mirror.Run(ctx) }()
	<-mirror.Complete()

	item, ok := mirror.Get("weight/eu")
	fmt.Println(item.Value, ok)
	_, invalid := mirror.Invalid()["weight/us"]
	fmt.Println(mirror.Status().State, mirror.Len(), invalid)

	_, _ = store.Put(ctx, "weight/us", []byte("30"))
	for change := range mirror.Changes(ctx) { // first the current items
		fmt.Println(change.Item.Key, change.Item.Value)
		if change.Item.Key == "weight/us" {
			break
		}
	}
	cancel()
	fmt.Println(<-ran)
	// Output:
	// 70 true
	// current 1 true
	// weight/eu 70
	// weight/us 30
	// <nil>
}

// bigEndian encodes numbers in eight bytes.
type bigEndian struct{}

func (bigEndian) Encode(n uint64) ([]byte, error) { return binary.BigEndian.AppendUint64(nil, n), nil }

func (bigEndian) Decode(data []byte) (uint64, error) {
	if len(data) != 8 {
		return 0, fmt.Errorf("%d bytes, want 8", len(data))
	}
	return binary.BigEndian.Uint64(data), nil
}

func ExampleCodec() {
	ctx := context.Background()
	store := kv.New(memkv.New(nil), nil)
	defer store.Close()

	numbers := kv.NewTyped(store, &kv.TypedOptions[uint64]{Codec: bigEndian{}})
	_, _ = numbers.Put(ctx, "answer", 42)
	item, err := numbers.Get(ctx, "answer")
	raw, _ := store.Get(ctx, "answer")
	fmt.Println(item.Value, err, len(raw.Value))
	// Output: 42 <nil> 8
}

// A process announces itself with a lease.
func ExampleStore_Lease() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	store := kv.New(memkv.New(nil), nil)
	defer store.Close()

	lease, err := store.Lease(ctx, 30*time.Second)
	if err != nil {
		fmt.Println(err)
		return
	}
	kept := make(chan error)
	go func() { kept <- lease.Run(ctx) }()
	_, err = store.Put(ctx, "node/a", []byte("10.0.0.1"), kv.WithLease(lease))
	fmt.Println(err)

	cancel() // the process shuts down
	fmt.Println(<-kept)
	fmt.Println(lease.Revoke(context.Background()))
	_, err = store.Get(context.Background(), "node/a")
	fmt.Println(err)
	// Output:
	// <nil>
	// <nil>
	// <nil>
	// kv: get "node/a": not found
}

func ExampleStore_Ping() {
	store := kv.New(memkv.New(nil), nil)
	fmt.Println(store.Ping(context.Background()))
	_ = store.Close()
	fmt.Println(store.Ping(context.Background()))
	// Output:
	// <nil>
	// kv: ping: closed
}

func ExampleError() {
	store := kv.New(memkv.New(nil), nil)
	defer store.Close()
	_, err := store.Get(context.Background(), "cart/7")
	var failure *kv.Error
	if errors.As(err, &failure) {
		fmt.Println(failure.Op, failure.Key, failure.Err == kv.ErrNotFound)
	}
	// Output: get cart/7 true
}
