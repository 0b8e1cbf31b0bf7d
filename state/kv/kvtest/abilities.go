package kvtest

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
)

func abilities() []promise {
	return []promise{
		{Name: "abilities/declared and implemented", Check: consistent},
		{Name: "abilities/undeclared are refused", Check: refused},
		{Name: "abilities/required", Check: required},
	}
}

// consistent compares the driver's declarations with the interfaces that it implements.
func consistent(r *rig) {
	_, lister := r.driver.(driver.Lister)
	_, watcher := r.driver.(driver.Watcher)
	_, batcher := r.driver.(driver.Batcher)
	_, leaser := r.driver.(driver.Leaser)
	for ability, implemented := range map[driver.Ability]bool{
		driver.List: lister, driver.Watch: watcher, driver.Batch: batcher, driver.Leases: leaser,
	} {
		if r.caps.Has(ability) != implemented {
			r.Errorf("%s: declared %t, implemented %t", ability, r.caps.Has(ability), implemented)
		}
	}
	for ability, needs := range map[driver.Ability]driver.Ability{driver.ExactEvents: driver.Watch, driver.SnapshotList: driver.List} {
		if r.caps.Has(ability) && !r.caps.Has(needs) {
			r.Errorf("%s is declared without %s", ability, needs)
		}
	}
	if r.caps.Has(driver.Durable) && r.Restart == nil {
		r.Error("the driver declares itself durable, and the Backend has no Restart to prove it")
	}
	if limits := r.caps.TTL; limits.Max > 0 && limits.Max < limits.Min {
		r.Errorf("TTLs from %s to %s", limits.Min, limits.Max)
	}
}

// refused uses every ability that the driver does not declare. Each use must fail and write nothing.
func refused(r *rig) {
	ctx, put := r.context(), func(opts ...kv.PutOption) func() error {
		return func() error {
			_, err := r.store.Put(r.context(), "k", []byte("x"), opts...)
			return err
		}
	}
	lease := func() error {
		_, err := r.store.Lease(ctx, time.Minute)
		return err
	}
	for ability, uses := range map[driver.Ability][]func() error{
		driver.CAS: {put(kv.IfAbsent()), put(kv.IfVersion(1)), func() error {
			return r.store.Delete(ctx, "k", kv.IfVersion(1))
		}},
		driver.Expiry: {put(kv.TTL(time.Minute))},
		driver.List:   {func() error { return lastError(r.store.List(ctx, "")) }},
		driver.Watch:  {func() error { return r.watchPrefix("").next().err }, func() error { return r.watchKey("k").next().err }},
		driver.Leases: {lease},
	} {
		if r.caps.Has(ability) {
			continue
		}
		for _, use := range uses {
			r.is(use(), errors.ErrUnsupported, "using %s, which is not declared", ability)
		}
	}
	r.absent("k")
}

func lastError[T any](seq func(func(T, error) bool)) (last error) {
	for _, err := range seq {
		last = err
	}
	return last
}

func required(r *rig) {
	for _, one := range driver.AllAbilities().Each() {
		err := r.store.Require(one)
		if r.caps.Has(one) {
			if err != nil {
				r.Errorf("Require(%s), which is declared: %v", one, err)
			}
			continue
		}
		r.is(err, errors.ErrUnsupported, "Require(%s), which is not declared", one)
		if err != nil && !strings.Contains(err.Error(), one.String()) {
			r.Errorf("Require(%s) does not name what is missing: %v", one, err)
		}
	}
	if err := r.store.Require(r.caps.Abilities.Each()...); err != nil {
		r.Errorf("Require of all that is declared: %v", err)
	}
}

func lifecycle() []promise {
	return []promise{
		{Name: "lifecycle/a context that is over", Check: canceled},
		{Name: "lifecycle/closed", Check: closed},
		{Name: "lifecycle/ping", Check: pings},
		{Name: "lifecycle/idle", Needs: driver.Watch, Hook: "Requests", Check: idle},
	}
}

// canceled makes every call with a canceled context. Each returns the context's error and writes nothing.
func canceled(r *rig) {
	ctx, cancel := context.WithCancel(r.Context())
	cancel()
	r.put("there", "1")
	_, err := r.store.Get(ctx, "there")
	r.is(err, context.Canceled, "Get")
	_, err = r.store.Put(ctx, "k", []byte("x"))
	r.is(err, context.Canceled, "Put")
	r.is(r.store.Delete(ctx, "there"), context.Canceled, "Delete")
	_, err = r.store.GetMany(ctx, []string{"there"})
	r.is(err, context.Canceled, "GetMany")
	_, err = r.store.PutMany(ctx, []kv.Entry{{Key: "k"}})
	r.is(err, context.Canceled, "PutMany")
	r.is(r.store.Ping(ctx), context.Canceled, "Ping")
	if r.caps.Has(driver.List) {
		r.is(lastError(r.store.List(ctx, "")), context.Canceled, "List")
	}
	if r.caps.Has(driver.Leases) {
		_, err = r.store.Lease(ctx, time.Minute)
		r.is(err, context.Canceled, "Lease")
	}
	r.holds("there", "1")
	r.absent("k")
}

func closed(r *rig) {
	r.put("k", "1")
	var w *watch
	if r.caps.Has(driver.Watch) {
		w = r.watchPrefix("")
		w.expect("synced")
	}
	for range 2 {
		if err := r.store.Close(); err != nil {
			r.Errorf("Close: %v", err)
		}
	}
	ctx := r.context()
	_, err := r.store.Get(ctx, "k")
	r.is(err, kv.ErrClosed, "Get")
	_, err = r.store.Put(ctx, "k", nil)
	r.is(err, kv.ErrClosed, "Put")
	r.is(r.store.Delete(ctx, "k"), kv.ErrClosed, "Delete")
	_, err = r.store.GetMany(ctx, []string{"k"})
	r.is(err, kv.ErrClosed, "GetMany")
	r.is(r.store.Ping(ctx), kv.ErrClosed, "Ping")
	if r.caps.Has(driver.List) {
		r.is(lastError(r.store.List(ctx, "")), kv.ErrClosed, "List")
	}
	if w != nil {
		last := w.next()
		for last.err == nil && !last.ended { // it may have lost its connection before, or re-established it
			last = w.next()
		}
		r.is(last.err, kv.ErrClosed, "a watch under way")
		w.expect("ended")
		r.is(r.watchPrefix("").next().err, kv.ErrClosed, "a watch after Close")
	}
}

func pings(r *rig) {
	if err := r.store.Ping(r.context()); err != nil {
		r.Errorf("Ping: %v", err)
	}
}

// idle counts the engine's requests while nothing happens, so that a driver which polls fails.
func idle(r *rig) {
	const seconds = 3
	w := r.watchPrefix("")
	w.expect("synced")
	before := r.Requests()
	r.pass(seconds * time.Second)
	if asked, allowed := r.Requests()-before, seconds*r.KeepAlives; asked > allowed {
		r.Errorf("%d requests in %d s in which nothing happened, %d are allowed", asked, seconds, allowed)
	}
	w.quiet()
}
