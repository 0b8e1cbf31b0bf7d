package kvtest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
)

func keys() []promise {
	return []promise{
		{Name: "keys/round trip", Check: everyKey},
		{Name: "keys/invalid", Check: invalidKeys},
		{Name: "keys/limit", Check: keyLimit},
	}
}

// awkward returns keys that engines, or escaping for them, are known to mishandle.
func awkward() []string {
	return []string{
		"a", "A", "a/", "/a", "//", "/", ".", "..", "a/../b", "a.b", "a*b", "*", ">", "a>b", "$", "%", "%2F", "%2f", "a%", "%00",
		" ", " a", "a ", "a b", "\t", "\n", "\r\n", "a\x00b", "\x00", "\x01", "\x7f", "\\", "\\x00", `"`, "'", "`", "?", "#", "&", "=", "+", "~",
		"[a]", "{a}", "a:b", "a|b", "a,b", "a;b", "@", "!", "^", "-", "--", "_", "__", "é", "e\u0301", "日本語", "😀", "\u200b", "\ufeff", "\u2028", "\uffff", "\U0010ffff",
		"key", "KEY", "null", "0", "00", "true", "ping", strings.Repeat("k", 200),
	}
}

// random returns keys of short strings over an alphabet that is difficult to escape. The keys are the same on every run.
func random(n int) []string {
	alphabet := []rune("aA/._-=%*>$ \\\x00\x01\x7f~é日😀\u07ff\u0800\U0010ffff")
	source := rand.New(rand.NewPCG(1, 2))
	set := make([]string, n)
	for i := range set {
		key := make([]rune, 1+source.IntN(12))
		for j := range key {
			key[j] = alphabet[source.IntN(len(alphabet))]
		}
		set[i] = string(key)
	}
	return set
}

// everyKey writes many keys, each with its own value, so that keys which collide are detected.
func everyKey(r *rig) {
	set := append(awkward(), random(200)...)
	slices.Sort(set)
	set = slices.Compact(set)
	if limit := r.caps.MaxKey; limit > 0 {
		set = slices.DeleteFunc(set, func(key string) bool { return len(key) > limit })
	}
	for _, key := range set {
		r.put(key, fmt.Sprintf("value of %q", key))
	}
	for _, key := range set {
		r.holds(key, fmt.Sprintf("value of %q", key))
	}
	if r.caps.Has(driver.List) {
		if got := r.keys(""); !slices.Equal(got, set) {
			r.Errorf("List returns %q\nwant %q", got, set)
		}
	}
	for i, key := range set {
		if i%2 == 0 {
			if err := r.store.Delete(r.context(), key); err != nil {
				r.Fatal(err)
			}
		}
	}
	for i, key := range set {
		if i%2 == 0 {
			r.absent(key)
		} else {
			r.holds(key, fmt.Sprintf("value of %q", key))
		}
	}
}

func invalidKeys(r *rig) {
	for _, key := range []string{"", "\xff", "a\xc3", "\xed\xa0\x80"} {
		_, err := r.store.Get(r.context(), key)
		r.is(err, kv.ErrInvalid, "Get(%q)", key)
		_, err = r.store.Put(r.context(), key, []byte("x"))
		r.is(err, kv.ErrInvalid, "Put(%q)", key)
		r.is(r.store.Delete(r.context(), key), kv.ErrInvalid, "Delete(%q)", key)
	}
	if r.caps.Has(driver.List) {
		if got := r.keys(""); len(got) != 0 {
			r.Errorf("refused writes have left %q", got)
		}
	}
}

func keyLimit(r *rig) {
	limit := r.caps.MaxKey
	if limit == 0 {
		r.Skip("the engine has no limit")
	}
	longest := strings.Repeat("é", limit/2) + strings.Repeat("x", limit%2)
	r.put(longest, "longest")
	r.holds(longest, "longest")
	_, err := r.store.Put(r.context(), longest+"x", []byte("x"))
	r.is(err, kv.ErrTooLarge, "Put of a key over the limit")
}

// Fuzz is a fuzz target for the keys of a driver. Every key round-trips, and so does one that differs from it by a byte.
func Fuzz(f *testing.F, b Backend) {
	for _, key := range awkward() {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		r := newRig(t, b)
		r.use(b.Open(t))
		defer r.Close()
		_, err := r.store.Put(r.context(), key, []byte("mine"))
		if key == "" || !utf8.ValidString(key) {
			r.is(err, kv.ErrInvalid, "Put(%q)", key)
			return
		}
		if limit := r.caps.MaxKey; limit > 0 && len(key) >= limit {
			t.Skip("over the limit, or its neighbour would be")
		}
		if err != nil {
			t.Fatal(err)
		}
		r.put(key+"\x00", "its neighbour's")
		r.holds(key, "mine")
		r.holds(key+"\x00", "its neighbour's")
	})
}
