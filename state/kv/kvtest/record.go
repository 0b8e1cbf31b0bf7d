package kvtest

import (
	"slices"
	"testing"

	"github.com/go-os/go-os/internal/tooling/suite"
	"github.com/go-os/go-os/state/kv/driver"
)

// RecordVariable is the environment variable that makes a run write its Record instead of comparing it.
const RecordVariable = "KVTEST_RECORD"

// Record holds the declarations of a driver and the result of each promise. docs/drivers.md is generated from records.
type Record struct {
	// System is the engine's name.
	System string `json:"system"`
	// Abilities are the declared abilities.
	Abilities []string `json:"abilities"`
	// ByOption are the abilities that a driver without options does not declare.
	ByOption []string `json:"by_option,omitempty"`
	// TTL holds the limits of Expiry without options, in Go's duration format. All are empty without that ability.
	TTL RecordTTL `json:"ttl"`
	// MaxKey, MaxValue and MaxBatch are the limits without options, in bytes and items. Zero means no limit.
	MaxKey   int `json:"max_key"`
	MaxValue int `json:"max_value"`
	MaxBatch int `json:"max_batch"`
	// Kept are the promises that were checked and held.
	Kept []string `json:"kept"`
	// Refused are the promises about undeclared abilities. The suite checked that these are refused.
	Refused []string `json:"refused"`
	// Untried are the promises that were skipped, with the hook that the Backend lacks.
	Untried map[string]string `json:"untried"`
}

// RecordTTL holds the limits of Expiry.
type RecordTTL struct {
	Min         string `json:"min"`
	Max         string `json:"max"`
	Granularity string `json:"granularity"`
	Stretch     int    `json:"stretch,omitempty"`
	MaxLateness string `json:"max_lateness"`
}

// declare records the declarations of the driver under test.
func (r *Record) declare(c driver.Capabilities) {
	r.System, r.Abilities = c.System, names(c.Abilities)
	r.limit(c)
}

// byDefault records the declarations of a driver without options.
func (r *Record) byDefault(c driver.Capabilities) {
	declared := names(c.Abilities)
	r.ByOption = slices.DeleteFunc(slices.Clone(r.Abilities), func(name string) bool { return slices.Contains(declared, name) })
	r.limit(c)
}

func names(a driver.Ability) (all []string) {
	for _, one := range a.Each() {
		all = append(all, one.String())
	}
	return all
}

// limit records the limits.
func (r *Record) limit(c driver.Capabilities) {
	r.MaxKey, r.MaxValue, r.MaxBatch = c.MaxKey, c.MaxValue, c.MaxBatch
	if c.Has(driver.Expiry) {
		r.TTL = RecordTTL{
			Min: c.TTL.Min.String(), Max: c.TTL.Max.String(),
			Granularity: c.TTL.Granularity.String(), Stretch: c.TTL.Stretch, MaxLateness: c.TTL.MaxLateness.String(),
		}
	}
}

// took records the results of the promises.
func (r *Record) took(results suite.Results) {
	r.Kept, r.Refused, r.Untried = results.Kept, results.Refused, results.Untried
}

// settle compares the record with the file, or writes it. A run that skipped or broke promises proves nothing, and does neither.
func (r *Record) settle(t testing.TB, file string) {
	if t.Failed() || len(r.Kept)+len(r.Refused)+len(r.Untried) != len(promises()) {
		return
	}
	suite.Settle(t, r, file, RecordVariable)
}
