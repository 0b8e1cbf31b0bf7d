package synctest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-os/go-os/state/sync/driver"
)

// RecordVariable is the environment variable that has runs write their records, with the value "write".
const RecordVariable = "SYNCTEST_RECORD"

// Record is what the suite proved of a driver, and what the driver declares.
type Record struct {
	System      string `json:"system"`
	Safety      string `json:"safety"`
	Ordered     bool   `json:"ordered"`
	MinTTL      string `json:"min_ttl"`
	MaxTTL      string `json:"max_ttl"`
	Granularity string `json:"granularity"`
	Stretch     int    `json:"stretch"`
	MaxLateness string `json:"max_lateness"`
	MaxName     int    `json:"max_name"`
	MaxValue    int    `json:"max_value"`
	// Kept are the promises that were checked and held.
	Kept []string `json:"kept"`
	// Untried are the promises that could not be checked, with the hook that the Backend lacks.
	Untried map[string]string `json:"untried"`
}

func newRecord() *Record { return &Record{Untried: map[string]string{}} }

// declare writes down what the driver declares.
func (r *Record) declare(c driver.Capabilities) {
	r.System, r.Safety, r.Ordered, r.MaxName, r.MaxValue = c.System, c.Safety.String(), c.Ordered, c.MaxName, c.MaxValue
	r.MinTTL, r.MaxTTL, r.Granularity = c.Lease.Min.String(), c.Lease.Max.String(), c.Lease.Granularity.String()
	r.Stretch, r.MaxLateness = max(c.Lease.Stretch, 1), c.Lease.MaxLateness.String()
}

// settle compares the record with the one that is kept in the file, or writes it. A run that left promises out, or broke
// one, proves nothing either way.
func (r *Record) settle(t testing.TB, file string) {
	if t.Failed() || len(r.Kept)+len(r.Untried) != len(promises()) {
		return
	}
	made, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	made = append(made, '\n')
	if os.Getenv(RecordVariable) == "write" {
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, made, 0o644)); err != nil {
			t.Fatal(err)
		}
		return
	}
	kept, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if !bytes.Equal(kept, made) {
		t.Errorf("%s is not what this run proved: run the test again with %s=write, then go generate ./...\nthis run:\n%s", file, RecordVariable, made)
	}
}
