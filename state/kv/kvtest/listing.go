package kvtest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
)

func listing() []promise {
	return []promise{
		{Name: "list/order and prefix", Needs: driver.List, Check: listPrefix},
		{Name: "list/items are whole", Needs: driver.List, Check: listItems},
		{Name: "list/under writes", Needs: driver.List, Check: listUnderWrites},
		{Name: "list/one moment", Needs: driver.SnapshotList, Check: listSnapshot},
	}
}

// keys lists the keys below a prefix.
func (r *rig) keys(prefix string) []string {
	r.Helper()
	var got []string
	for it, err := range r.store.List(r.context(), prefix) {
		if err != nil {
			r.Fatalf("List(%q): %v", prefix, err)
		}
		got = append(got, it.Key)
	}
	return got
}

func listPrefix(r *rig) {
	all := []string{"a", "a/", "a/1", "a/10", "a/2", "a/b/c", "a0", "b", "b/1", "z", "é", "日"}
	for _, key := range []string{"日", "b", "a/2", "a/1", "z", "a", "a0", "é", "a/10", "b/1", "a/b/c", "a/"} {
		r.put(key, "x")
	}
	for _, prefix := range []string{"", "a", "a/", "a/1", "a/b/c", "b", "zz", "日", "\U0010ffff"} {
		var want []string
		for _, key := range all {
			if strings.HasPrefix(key, prefix) {
				want = append(want, key)
			}
		}
		if got := r.keys(prefix); !slices.Equal(got, want) {
			r.Errorf("List(%q) = %q, want %q", prefix, got, want)
		}
	}
	for it, err := range r.store.List(r.context(), "") { // a caller may leave the loop early
		if err != nil || it.Key != "a" {
			r.Errorf("the first is %q, error %v", it.Key, err)
		}
		break
	}
}

func listItems(r *rig) {
	want := map[string]kv.Version{}
	for i := range 3*pageSize + 1 {
		key := fmt.Sprintf("k/%02d", i)
		want[key] = r.put(key, "value of "+key)
	}
	for it, err := range r.store.List(r.context(), "k/") {
		if err != nil {
			r.Fatal(err)
		}
		if string(it.Value) != "value of "+it.Key || it.Version != want[it.Key] {
			r.Errorf("List shows %q with value %q, version %d; want version %d", it.Key, it.Value, it.Version, want[it.Key])
		}
		delete(want, it.Key)
	}
	if len(want) != 0 {
		r.Errorf("List left out %v", want)
	}
}

// listUnderWrites changes keys next to those that a list is about to return. Unchanged items are listed once, in order.
func listUnderWrites(r *rig) {
	var want []string
	for i := range 20 {
		want = append(want, fmt.Sprintf("stay/%02d", i))
		r.put(want[i], "x")
		r.put(fmt.Sprintf("stay/%02d-goes", i), "x")
	}
	var got []string
	for it, err := range r.store.List(r.context(), "stay/") {
		if err != nil {
			r.Fatal(err)
		}
		got = append(got, it.Key)
		n := len(got)
		r.put(fmt.Sprintf("stay/%02d-comes", (n*7)%20), "x")
		if err := r.store.Delete(r.context(), fmt.Sprintf("stay/%02d-goes", (n*3)%20)); err != nil {
			r.Fatal(err)
		}
		if n > 1000 {
			r.Fatal("the list does not end")
		}
	}
	if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
		r.Errorf("out of order, or twice: %q", got)
	}
	got = slices.DeleteFunc(got, func(key string) bool { return strings.Contains(key, "-") })
	if !slices.Equal(got, want) {
		r.Errorf("of what stayed, List shows %q, want %q", got, want)
	}
}

func listSnapshot(r *rig) {
	for i := range 4 * pageSize {
		r.put(fmt.Sprintf("s/%02d", i), "before")
	}
	n := 0
	for it, err := range r.store.List(r.context(), "s/") {
		if err != nil {
			r.Fatal(err)
		}
		if n++; n == 1 {
			for i := range 4 * pageSize {
				r.put(fmt.Sprintf("s/%02d", i), "after")
				r.put(fmt.Sprintf("s/%02d/new", i), "after")
			}
		}
		if string(it.Value) != "before" {
			r.Errorf("%q shows a write that came after the list began", it.Key)
		}
	}
	if n != 4*pageSize {
		r.Errorf("%d items, want %d", n, 4*pageSize)
	}
}
