package discoverytest

import (
	"cmp"
	"testing"

	"github.com/go-os/go-os/internal/tooling/suite"
)

// RecordVariable is the environment variable that, with the value "write", makes runs write their records.
const RecordVariable = "DISCOVERYTEST_RECORD"

// Record holds the results of the suite for a driver, and its declarations. docs/drivers.md is generated from records.
type Record struct {
	// System is the registry's name.
	System string `json:"system"`
	// Abilities are the abilities of the registry.
	Abilities []string `json:"abilities"`
	// MinTTL and MaxTTL limit the TTL of a lease, in Go's duration format. They are empty for a registry that is only read.
	MinTTL string `json:"min_ttl,omitempty"`
	MaxTTL string `json:"max_ttl,omitempty"`
	// MaxRecord is the length of the longest record, in bytes. Zero means no limit.
	MaxRecord int `json:"max_record,omitempty"`
	// Polls is the number of requests per second of an idle watch, without options.
	Polls float64 `json:"polls,omitempty"`
	// Kept are the promises that were checked and held.
	Kept []string `json:"kept"`
	// Refused are the promises about abilities that the registry lacks.
	Refused []string `json:"refused"`
	// Untried are the promises that were skipped, with the hook that the Backend lacks.
	Untried map[string]string `json:"untried"`
}

// declare records the declarations of the driver under test.
func (r *Record) declare(of *rig) {
	r.System, r.MaxRecord, r.Polls = of.caps.System, of.caps.MaxRecord, cmp.Or(of.DefaultPolls, of.Polls)
	for a := Writes; a <= Names; a <<= 1 {
		if of.Has(a) {
			r.Abilities = append(r.Abilities, abilityNames[a])
		}
	}
	if of.Has(Writes) {
		r.MinTTL, r.MaxTTL = of.caps.MinTTL.String(), of.caps.MaxTTL.String()
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
