package kvtest

import (
	"errors"
	"strconv"
	"sync"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
)

func conditions() []promise {
	return []promise{
		{Name: "cas/if absent", Needs: driver.CAS, Check: putIfAbsent},
		{Name: "cas/if version", Needs: driver.CAS, Check: putIfVersion},
		{Name: "cas/delete", Needs: driver.CAS, Check: deleteIfVersion},
		{Name: "cas/contradictions", Needs: driver.CAS, Check: contradictions},
		{Name: "cas/no update is lost", Needs: driver.CAS, RealClock: true, Check: counter},
	}
}

func (r *rig) conflicts(key, value string, opts ...kv.PutOption) {
	r.Helper()
	_, err := r.store.Put(r.context(), key, []byte(value), opts...)
	r.is(err, kv.ErrConflict, "Put(%q)", key)
}

func putIfAbsent(r *rig) {
	r.put("k", "first", kv.IfAbsent())
	r.conflicts("k", "second", kv.IfAbsent())
	r.holds("k", "first")
	if err := r.store.Delete(r.context(), "k"); err != nil {
		r.Fatal(err)
	}
	r.put("k", "third", kv.IfAbsent())
	r.holds("k", "third")
}

func putIfVersion(r *rig) {
	one := r.put("k", "one")
	two := r.put("k", "two", kv.IfVersion(one))
	r.conflicts("k", "late", kv.IfVersion(one))
	if it := r.holds("k", "two"); it.Version != two {
		r.Errorf("a write that was refused has changed the version from %d to %d", two, it.Version)
	}
	r.conflicts("missing", "x", kv.IfVersion(two))
	r.absent("missing")

	if err := r.store.Delete(r.context(), "k"); err != nil {
		r.Fatal(err)
	}
	r.conflicts("k", "after delete", kv.IfVersion(two))
	r.absent("k")
	r.put("k", "two")
	r.conflicts("k", "another life", kv.IfVersion(two))
	r.holds("k", "two")
}

func deleteIfVersion(r *rig) {
	one := r.put("k", "one")
	two := r.put("k", "two")
	r.is(r.store.Delete(r.context(), "k", kv.IfVersion(one)), kv.ErrConflict, "Delete of an old version")
	r.holds("k", "two")
	if err := r.store.Delete(r.context(), "k", kv.IfVersion(two)); err != nil {
		r.Errorf("Delete of the right version: %v", err)
	}
	r.absent("k")
	r.is(r.store.Delete(r.context(), "k", kv.IfVersion(two)), kv.ErrConflict, "Delete of what is gone")
}

func contradictions(r *rig) {
	for name, opts := range map[string][]kv.PutOption{
		"IfAbsent and IfVersion": {kv.IfAbsent(), kv.IfVersion(1)},
		"two versions":           {kv.IfVersion(1), kv.IfVersion(2)},
		"no version":             {kv.IfVersion(0)},
		"no TTL":                 {kv.TTL(0)},
		"a TTL below zero":       {kv.TTL(-1)},
		"no lease":               {kv.WithLease(nil)},
	} {
		_, err := r.store.Put(r.context(), "k", []byte("x"), opts...)
		r.is(err, kv.ErrInvalid, "Put with %s", name)
		r.absent("k")
	}
	r.is(r.store.Delete(r.context(), "k", kv.IfVersion(0)), kv.ErrInvalid, "Delete with no version")
}

// counter runs several writers that increment one number by compare-and-set.
func counter(r *rig) {
	const writers, each = 4, 25
	ctx := r.context()
	r.put("n", "0")
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for done := 0; done < each; {
				it, err := r.store.Get(ctx, "n")
				if err != nil {
					r.Errorf("Get: %v", err)
					return
				}
				n, _ := strconv.Atoi(string(it.Value))
				_, err = r.store.Put(ctx, "n", []byte(strconv.Itoa(n+1)), kv.IfVersion(it.Version))
				if err == nil {
					done++
				} else if !errors.Is(err, kv.ErrConflict) {
					r.Errorf("Put: %v", err)
					return
				}
			}
		})
	}
	group.Wait()
	r.holds("n", strconv.Itoa(writers*each))
}
