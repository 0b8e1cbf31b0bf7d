package kvtest

import (
	"errors"
	"time"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
)

func expiry() []promise {
	return []promise{
		{Name: "ttl/in time", Needs: driver.Expiry, Together: true, Check: expires},
		{Name: "ttl/limits", Needs: driver.Expiry, Check: ttlLimits},
		{Name: "ttl/a new write counts anew", Needs: driver.Expiry, Together: true, Check: rewritten},
		{Name: "ttl/the expired are absent", Needs: driver.Expiry | driver.CAS, Together: true, Check: expiredIsAbsent},
		{Name: "ttl/survives a restart", Needs: driver.Expiry | driver.Durable, Hook: "Restart", Check: ttlAcrossRestart},
	}
}

// short returns a TTL that is within the driver's limits and short enough to wait for.
func (r *rig) short() time.Duration { return max(r.caps.TTL.Min, 500*time.Millisecond) }

// slack returns the tolerance of a test that reads the clock. It is zero on a fake clock.
func (r *rig) slack() time.Duration {
	if r.FakeClock {
		return 0
	}
	return 500 * time.Millisecond
}

// gone waits until key is absent. It fails if that happens before from or after until.
func (r *rig) gone(key string, from, until time.Time) {
	r.Helper()
	for {
		asked := time.Now()
		_, err := r.store.Get(r.context(), key)
		switch now := time.Now(); {
		case errors.Is(err, kv.ErrNotFound):
			if now.Before(from) {
				r.Errorf("%q was gone %s before its time", key, from.Sub(now))
			}
			return
		case err != nil:
			r.Fatalf("Get(%q): %v", key, err)
		case asked.After(until):
			r.Fatalf("%q is there %s after its time", key, asked.Sub(from))
		}
		r.pass(10 * time.Millisecond)
	}
}

// deadline returns the latest time at which an item must have expired that was written between before and now.
func (r *rig) deadline(ttl time.Duration) time.Time {
	return time.Now().Add(r.caps.TTL.Latest(ttl) + r.slack())
}

func expires(r *rig) {
	ttl := r.short()
	sent := time.Now()
	r.put("k", "x", kv.TTL(ttl))
	until := r.deadline(ttl)
	if it := r.holds("k", "x"); it.TTL < 0 || it.TTL > r.caps.TTL.Latest(ttl) {
		r.Errorf("of %s there are %s left", ttl, it.TTL)
	}
	r.gone("k", sent.Add(ttl), until)
	r.absent("k")
}

func ttlLimits(r *rig) {
	limits := r.caps.TTL
	refused := func(ttl time.Duration) {
		r.Helper()
		_, err := r.store.Put(r.context(), "k", []byte("x"), kv.TTL(ttl))
		r.is(err, kv.ErrInvalid, "Put with a TTL of %s", ttl)
		r.absent("k")
	}
	if limits.Min > 1 {
		refused(limits.Min - 1)
	}
	if limits.Max > 0 {
		refused(limits.Max + 1)
		r.put("max", "x", kv.TTL(limits.Max))
	}
	r.put("min", "x", kv.TTL(max(limits.Min, 1)))
}

func rewritten(r *rig) {
	ttl := r.short()
	sent := time.Now()
	r.put("stays", "1", kv.TTL(ttl))
	r.put("longer", "1", kv.TTL(ttl))
	r.put("stays", "2")
	r.put("longer", "2", kv.TTL(4*ttl))
	r.put("shorter", "1", kv.TTL(4*ttl))
	r.put("shorter", "2", kv.TTL(ttl))
	until := r.deadline(ttl)
	r.gone("shorter", sent.Add(ttl), until)
	r.pass(time.Until(until))
	r.holds("stays", "2")
	if time.Since(sent) < 4*ttl {
		r.holds("longer", "2")
	}
}

func expiredIsAbsent(r *rig) {
	ttl := r.short()
	v := r.put("k", "old", kv.TTL(ttl))
	r.pass(time.Until(r.deadline(ttl)) + time.Millisecond)
	r.conflicts("k", "x", kv.IfVersion(v))
	if r.caps.Has(driver.List) {
		if got := r.keys(""); len(got) != 0 {
			r.Errorf("List shows %q, which has expired", got)
		}
	}
	r.put("k", "new", kv.IfAbsent())
	r.holds("k", "new")
}

func ttlAcrossRestart(r *rig) {
	ttl := r.short()
	sent := time.Now()
	r.put("short", "x", kv.TTL(ttl))
	r.put("long", "x", kv.TTL(time.Hour))
	r.put("ever", "x")
	until := r.deadline(ttl)
	r.restart()
	if back := time.Now().Add(r.caps.TTL.Granularity + r.caps.TTL.MaxLateness); back.After(until) {
		until = back // the engine was down when the item expired
	}
	r.gone("short", sent.Add(ttl), until.Add(r.slack()))
	r.holds("ever", "x")
	if it := r.holds("long", "x"); it.TTL > time.Hour {
		r.Errorf("an item of an hour has %s left after a restart", it.TTL)
	}
}
