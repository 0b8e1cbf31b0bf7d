package synctest

import (
	"testing"

	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/state/sync/driver"
)

// RecordVariable is the environment variable that, with the value "write", makes runs write their records.
const RecordVariable = "SYNCTEST_RECORD"

// Record holds the results of the suite for a driver, and the driver's declarations.
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
	// Untried are the promises that were skipped, with the hook that the Backend lacks.
	Untried map[string]string `json:"untried"`
}

// declare records the declarations of the driver.
func (r *Record) declare(c driver.Capabilities) {
	r.System, r.Safety, r.Ordered, r.MaxName, r.MaxValue = c.System, c.Safety.String(), c.Ordered, c.MaxName, c.MaxValue
	r.MinTTL, r.MaxTTL, r.Granularity = c.Lease.Min.String(), c.Lease.Max.String(), c.Lease.Granularity.String()
	r.Stretch, r.MaxLateness = max(c.Lease.Stretch, 1), c.Lease.MaxLateness.String()
}

// took records the results of the promises.
func (r *Record) took(results suite.Results) { r.Kept, r.Untried = results.Kept, results.Untried }

// settle compares the record with the file, or writes it. A run that skipped or broke promises proves nothing, and does neither.
func (r *Record) settle(t testing.TB, file string) {
	if t.Failed() || len(r.Kept)+len(r.Untried) != len(promises()) {
		return
	}
	suite.Settle(t, r, file, RecordVariable)
}
