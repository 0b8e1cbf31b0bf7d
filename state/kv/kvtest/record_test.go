package kvtest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/state/kv/memkv"
)

// whole returns the record of a run that tried every promise.
func whole() *Record {
	r := &Record{Untried: map[string]string{}}
	r.declare(memkv.New(nil).Capabilities())
	for _, p := range promises() {
		r.Kept = append(r.Kept, p.Name)
	}
	return r
}

// differs reports whether settle fails the test.
func differs(t *testing.T, r *Record, file string) bool {
	w := &suite.Witness{TB: t}
	r.settle(w, file)
	return w.Failed()
}

func TestRecordMustBeWhatWasProved(t *testing.T) {
	file := filepath.Join(t.TempDir(), "testdata", "contract.json")
	if !differs(t, whole(), file) {
		t.Error("a record that nobody kept is taken for proved")
	}
	t.Setenv(RecordVariable, "write")
	if differs(t, whole(), file) {
		t.Fatal("writing the record fails")
	}
	t.Setenv(RecordVariable, "")
	if differs(t, whole(), file) {
		t.Error("a record differs from itself")
	}
	for what, change := range map[string]func(*Record){
		"another limit":                func(r *Record) { r.MaxValue++ },
		"an ability less":              func(r *Record) { r.Abilities = r.Abilities[1:] },
		"a promise that was not tried": func(r *Record) { r.Untried[r.Kept[0]], r.Kept = "Kill", r.Kept[1:] },
	} {
		r := whole()
		change(r)
		if !differs(t, r, file) {
			t.Errorf("%s goes unnoticed", what)
		}
	}
}

func TestRecordOfAPartProvesNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "contract.json")
	t.Setenv(RecordVariable, "write")
	r := whole()
	r.Kept = r.Kept[1:]
	if differs(t, r, file) {
		t.Error("a run of some promises fails for the others")
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("a run of some promises writes a record")
	}
}
