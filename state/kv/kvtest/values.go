package kvtest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/go-os/go-os/state/kv"
)

func values() []promise {
	return []promise{
		{Name: "values/missing", Check: missing},
		{Name: "values/round trip", Check: roundTrip},
		{Name: "values/belong to the caller", Check: ownValues},
		{Name: "values/limit", Check: valueLimit},
		{Name: "values/versions", Check: versions},
		{Name: "values/delete", Check: deletes},
	}
}

// is fails the test unless err wraps want and is a *kv.Error that names an operation.
func (r *rig) is(err, want error, format string, args ...any) {
	r.Helper()
	var whole *kv.Error
	if !errors.Is(err, want) || !errors.As(err, &whole) || whole.Op == "" {
		r.Errorf(format+": error %v; want a *kv.Error of %v", append(args, err, want)...)
	}
	r.once(err)
}

// once fails the test if an error's message repeats a text, or names the end of the context more than once.
func (r *rig) once(err error) {
	r.Helper()
	if err == nil {
		return
	}
	said := err.Error()
	for _, over := range []error{context.Canceled, context.DeadlineExceeded} {
		if strings.Count(said, over.Error()) > 1 {
			r.Errorf("a message repeats itself: %q", said)
			return
		}
	}
	parts := strings.Split(said, ": ")
	if len(slices.Compact(slices.Clone(parts))) != len(parts) {
		r.Errorf("a message repeats itself: %q", said)
	}
}

func missing(r *rig) {
	r.absent("nobody/wrote/this")
}

func roundTrip(r *rig) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for name, value := range map[string]string{
		"empty": "", "text": "hello", "binary": string(all), "large": strings.Repeat("0123456789abcdef", 4096), "zeros": "\x00\x00",
	} {
		r.put("value/"+name, value)
		it := r.holds("value/"+name, value)
		if it.Value == nil {
			r.Errorf("the %s value comes back as nil", name)
		}
		if it.TTL != 0 {
			r.Errorf("an item without a TTL has %s left", it.TTL)
		}
	}
	if _, err := r.store.Put(r.context(), "value/nil", nil); err != nil {
		r.Errorf("Put of a nil value: %v", err)
	}
	r.holds("value/nil", "")
}

func ownValues(r *rig) {
	in := []byte("original")
	if _, err := r.store.Put(r.context(), "own", in); err != nil {
		r.Fatal(err)
	}
	copy(in, "CLOBBERED")
	out := r.holds("own", "original")
	copy(out.Value, "CLOBBERED")
	r.holds("own", "original")
}

func valueLimit(r *rig) {
	limit := r.caps.MaxValue
	if limit == 0 {
		r.Skip("the engine has no limit")
	}
	if limit <= 8<<20 { // more would test the machine
		r.put("limit", strings.Repeat("x", limit))
		if it, err := r.store.Get(r.context(), "limit"); err != nil || len(it.Value) != limit {
			r.Errorf("the longest value comes back as %d bytes, error %v; want %d", len(it.Value), err, limit)
		}
	}
	_, err := r.store.Put(r.context(), "over", bytes.Repeat([]byte("x"), limit+1))
	r.is(err, kv.ErrTooLarge, "Put of a value over the limit")
	r.absent("over")
}

func versions(r *rig) {
	seen := map[kv.Version]bool{}
	fresh := func(v kv.Version) {
		r.Helper()
		if seen[v] {
			r.Errorf("version %d was given twice", v)
		}
		seen[v] = true
		if it, err := r.store.Get(r.context(), "v"); err != nil || it.Version != v {
			r.Errorf("Get after Put returns version %d, error %v; Put said %d", it.Version, err, v)
		}
	}
	fresh(r.put("v", "same"))
	fresh(r.put("v", "same"))
	r.put("other", "x")
	fresh(r.put("v", "different"))
	if err := r.store.Delete(r.context(), "v"); err != nil {
		r.Fatal(err)
	}
	fresh(r.put("v", "same"))
}

func deletes(r *rig) {
	r.put("d/1", "x")
	r.put("d/11", "y")
	for range 2 { // the second time the key does not exist
		if err := r.store.Delete(r.context(), "d/1"); err != nil {
			r.Errorf("Delete: %v", err)
		}
		r.absent("d/1")
	}
	r.holds("d/11", "y")
}
