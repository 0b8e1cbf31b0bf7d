package kvtest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
)

func batches() []promise {
	return []promise{
		{Name: "batch/write and read", Check: manyItems},
		{Name: "batch/each item stands alone", Check: manyErrors},
	}
}

// manyItems works on every driver. Without the ability Batch, the portable type makes one call per item.
func manyItems(r *rig) {
	n := 10
	if r.caps.MaxBatch > 0 && r.caps.Has(driver.Batch) {
		n = r.caps.MaxBatch + 3
	}
	var entries []kv.Entry
	var keys []string
	for i := range n {
		keys = append(keys, fmt.Sprintf("m/%d", i))
		entries = append(entries, kv.Entry{Key: keys[i], Value: []byte("value of " + keys[i])})
	}
	written, err := r.store.PutMany(r.context(), entries)
	if err != nil || len(written) != n {
		r.Fatalf("PutMany: %d results, error %v", len(written), err)
	}
	r.delete("m/4")
	read, err := r.store.GetMany(r.context(), keys)
	if err != nil || len(read) != n {
		r.Fatalf("GetMany: %d results, error %v", len(read), err)
	}
	for i, res := range read {
		if i == 4 {
			r.is(res.Err, kv.ErrNotFound, "GetMany(%q)", keys[i])
			continue
		}
		if it := res.Item; res.Err != nil || it.Key != keys[i] || string(it.Value) != "value of "+it.Key || it.Version != written[i].Item.Version {
			r.Errorf("GetMany(%q) = %q, value %q, version %d, error %v; want version %d",
				keys[i], it.Key, it.Value, it.Version, res.Err, written[i].Item.Version)
		}
	}
}

func manyErrors(r *rig) {
	r.put("there", "1")
	if r.caps.Has(driver.CAS) {
		results, err := r.store.PutMany(r.context(), []kv.Entry{
			{Key: "new", Value: []byte("x"), Options: []kv.PutOption{kv.IfAbsent()}},
			{Key: "there", Value: []byte("x"), Options: []kv.PutOption{kv.IfAbsent()}},
			{Key: "last", Value: []byte("x")},
		})
		r.is(err, kv.ErrConflict, "PutMany")
		if len(results) != 3 || results[0].Err != nil || !errors.Is(results[1].Err, kv.ErrConflict) || results[2].Err != nil {
			r.Fatalf("PutMany = %v, want the second alone to conflict", results)
		}
		r.holds("new", "x")
		r.holds("last", "x")
	}
	r.holds("there", "1")
	_, err := r.store.PutMany(r.context(), []kv.Entry{{Key: "fine", Value: []byte("x")}, {Key: ""}})
	r.is(err, kv.ErrInvalid, "PutMany with an empty key")
	r.absent("fine")
	if limit := r.caps.MaxKey; limit > 0 {
		_, err = r.store.GetMany(r.context(), []string{"there", strings.Repeat("k", limit+1)})
		r.is(err, kv.ErrTooLarge, "GetMany with a key over the limit")
	}
}

func leases() []promise {
	return []promise{
		{Name: "lease/items end with it", Needs: driver.Leases, Together: true, Check: leaseEnds},
		{Name: "lease/is kept alive", Needs: driver.Leases, Together: true, Check: leaseKept},
		{Name: "lease/revoked", Needs: driver.Leases, Check: leaseRevoked},
		{Name: "lease/none is left of an overwritten item", Needs: driver.Expiry | driver.Leases, Hook: "Leases", Check: leasesEnd},
		{Name: "lease/others' items stay", Needs: driver.Leases | driver.Expiry, Check: leaseStays},
	}
}

func (r *rig) lease(ttl time.Duration) *kv.Lease {
	r.Helper()
	l, err := r.store.Lease(r.context(), ttl)
	if err != nil {
		r.Fatalf("Lease: %v", err)
	}
	return l
}

func leaseEnds(r *rig) {
	ttl := r.short()
	sent := time.Now()
	l := r.lease(ttl)
	until := r.deadline(ttl)
	r.put("l/1", "x", kv.WithLease(l))
	r.put("l/2", "x", kv.WithLease(l))
	r.put("l/3", "x", kv.WithLease(l))
	r.put("l/3", "on its own")
	r.gone("l/1", sent.Add(ttl), until)
	r.gone("l/2", sent.Add(ttl), until)
	r.pass(time.Until(until))
	r.holds("l/3", "on its own")
	r.is(l.Renew(r.context()), kv.ErrNotFound, "Renew of a lease that is over")
	_, err := r.store.Put(r.context(), "l/4", nil, kv.WithLease(l))
	r.is(err, kv.ErrNotFound, "Put with a lease that is over")
	r.absent("l/4")
	_, err = r.store.Put(r.context(), "l/4", nil, kv.WithLease(l), kv.TTL(time.Hour))
	r.is(err, kv.ErrInvalid, "Put with a lease and a TTL")
}

// leaseKept runs two leases. Items of the first exist as long as Run does; those of the second, whose Run ends early, expire.
func leaseKept(r *rig) {
	ttl := r.short()
	stays, left := r.lease(ttl), r.lease(ttl)
	r.put("stays", "x", kv.WithLease(stays))
	r.put("left", "x", kv.WithLease(left))
	stop, leave := r.start(stays.Run), r.start(left.Run)
	r.pass(ttl / 2)
	r.holds("left", "x")
	leave()
	until := r.deadline(ttl)
	for range 5 {
		r.holds("stays", "x")
		r.pass(ttl / 2)
	}
	r.holds("stays", "x")
	stop()
	r.gone("left", time.Time{}, until)
	r.is(left.Run(r.context()), kv.ErrNotFound, "Run of a lease that is over")
	r.event("goos.kv.lease.lost")
}

func leaseRevoked(r *rig) {
	l := r.lease(time.Minute)
	r.put("k", "x", kv.WithLease(l))
	for range 2 {
		if err := l.Revoke(r.context()); err != nil {
			r.Errorf("Revoke: %v", err)
		}
		r.absent("k")
	}
}

// leasesEnd repeatedly writes a few keys with a long TTL, and counts the engine's leases. There is one for each item with a TTL.
func leasesEnd(r *rig) {
	const keys, rounds, ttl = 2, 20, time.Hour
	stores := []*kv.Store{r.store}
	if r.Beside != nil {
		stores = append(stores, r.beside())
	}
	before := r.Leases(r)
	expect := func(want int, after string) {
		r.Helper()
		r.eventually("the leases of replaced items to end", func() error {
			if got := r.Leases(r) - before; got != want {
				return fmt.Errorf("after %s there are %d leases more than before, want %d", after, got, want)
			}
			return nil
		})
	}
	write := func(n int, opts ...kv.PutOption) (kv.Version, error) {
		return stores[n%len(stores)].Put(r.context(), fmt.Sprint("k", n%keys), fmt.Append(nil, n), opts...)
	}
	for n := range keys * rounds {
		if _, err := write(n, kv.TTL(ttl)); err != nil {
			r.Fatalf("Put: %v", err)
		}
	}
	expect(keys, "writes with a TTL")
	if r.caps.Has(driver.CAS) {
		for n := range rounds {
			_, err := write(n, kv.TTL(ttl), kv.IfAbsent())
			r.is(err, kv.ErrConflict, "Put of an item that is there with IfAbsent")
		}
		expect(keys, "refused writes")
		r.put("k0", "x", kv.TTL(ttl), kv.IfVersion(r.version("k0")))
		expect(keys, "a conditional write")
	}
	r.put("k0", "for good")
	expect(keys-1, "a write without a TTL")
	r.delete("k1")
	expect(keys-2, "a deletion")
}

// version returns the version of an existing item.
func (r *rig) version(key string) kv.Version {
	r.Helper()
	it, err := r.store.Get(r.context(), key)
	if err != nil {
		r.Fatalf("Get(%q): %v", key, err)
	}
	return it.Version
}

// leaseStays replaces and deletes items of a lease. Neither may end the lease or affect its other items.
func leaseStays(r *rig) {
	l := r.lease(time.Minute)
	for _, key := range []string{"l/1", "l/2", "l/3"} {
		r.put(key, "x", kv.WithLease(l))
	}
	r.put("l/1", "on its own", kv.TTL(time.Minute))
	r.put("l/1", "again", kv.TTL(time.Minute))
	r.delete("l/2")
	r.put("l/1", "with the lease", kv.WithLease(l))
	r.holds("l/1", "with the lease")
	r.holds("l/3", "x")
	if err := l.Renew(r.context()); err != nil {
		r.Errorf("Renew: %v", err)
	}
}
