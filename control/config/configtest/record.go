package configtest

import (
	"testing"

	"github.com/go-os/go-os/internal/tooling/suite"
)

// RecordVariable is the environment variable that makes a run write its Record instead of comparing it.
const RecordVariable = "CONFIGTEST_RECORD"

// Record is the outcome of each promise.
type Record struct {
	// Kept are the promises that were checked and held.
	Kept []string `json:"kept"`
	// Absent are the promises about interfaces that the source does not implement.
	Absent []string `json:"absent"`
	// Untried are the promises that could not be checked, each with the missing hook of the Fixture.
	Untried map[string]string `json:"untried"`
}

// took records the outcomes of the promises.
func (r *Record) took(results suite.Results) {
	r.Kept, r.Absent, r.Untried = results.Kept, results.Refused, results.Untried
}

// settle compares the record with the file, or writes the file. It does nothing after a run that skipped or broke promises.
func (r *Record) settle(t testing.TB, file string) {
	if t.Failed() || len(r.Kept)+len(r.Absent)+len(r.Untried) != len(promises()) {
		return
	}
	suite.Settle(t, r, file, RecordVariable)
}
