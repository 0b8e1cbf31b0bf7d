package configtest

import (
	"testing"

	"github.com/go-os/go-os/internal/tooling/suite"
)

// RecordVariable is the environment variable that has a run write its Record instead of comparing it.
const RecordVariable = "CONFIGTEST_RECORD"

// Record is what became of each promise.
type Record struct {
	// Kept are the promises that were checked and held.
	Kept []string `json:"kept"`
	// Absent are the promises about interfaces that the source does not implement.
	Absent []string `json:"absent"`
	// Untried are the promises that could not be checked, with the hook that the Fixture lacks.
	Untried map[string]string `json:"untried"`
}

// took records what became of the promises.
func (r *Record) took(results suite.Results) {
	r.Kept, r.Absent, r.Untried = results.Kept, results.Refused, results.Untried
}

// settle compares the record with the one that is kept in the file, or writes it. A run that left promises out, or broke
// one, proves nothing either way.
func (r *Record) settle(t testing.TB, file string) {
	if t.Failed() || len(r.Kept)+len(r.Absent)+len(r.Untried) != len(promises()) {
		return
	}
	suite.Settle(t, r, file, RecordVariable)
}
