package suite

import (
	"path/filepath"
	"strings"
	"testing"
)

// outcomeOf returns the outcome of a test that calls a gate, which may skip it.
func outcomeOf(t *testing.T, gate func(testing.TB)) string {
	w, outcome := &Witness{TB: t}, "skipped"
	done := make(chan struct{})
	go func() {
		defer close(done)
		gate(w)
		outcome = "ran"
	}()
	<-done
	if w.Failed() {
		return "failed"
	}
	return outcome
}

func TestLong(t *testing.T) {
	for value, want := range map[string]struct{ long, short string }{
		"":                                {"skipped", "skipped"},
		"off":                             {"skipped", "skipped"},
		"short":                           {"skipped", "ran"},
		"on":                              {"ran", "ran"},
		"yes":                             {"failed", "failed"},
		"state/kv":                        {"skipped", "ran"},
		"internal/tooling/suite":          {"ran", "ran"},
		"state/kv,state/kv/near":          {"skipped", "ran"},
		"internal/tooling/suite,":         {"failed", "failed"},
		"state/kv/nosuchkv":               {"failed", "failed"},
		"state/kv,internal/tooling/suite": {"ran", "ran"},
	} {
		t.Run("value "+value, func(t *testing.T) {
			t.Setenv(LongVariable, value)
			if got := outcomeOf(t, Long); got != want.long {
				t.Errorf("Long: %s, want %s", got, want.long)
			}
			if got := outcomeOf(t, Short); got != want.short {
				t.Errorf("Short: %s, want %s", got, want.short)
			}
		})
	}
}

func TestLongOutsideAModule(t *testing.T) {
	if _, err := extentOf("state/kv", filepath.VolumeName(t.TempDir())+string(filepath.Separator)); err == nil || !strings.Contains(err.Error(), "outside a module") {
		t.Errorf("error %v, want one that says that there is no module", err)
	}
}

// TestMeasure: measurements run only if they are asked for, whatever other long tests run.
func TestMeasure(t *testing.T) {
	t.Setenv(LongVariable, "on")
	t.Setenv(MeasureVariable, "")
	if got := outcomeOf(t, Measure); got != "skipped" {
		t.Errorf("unset: %s, want skipped", got)
	}
	t.Setenv(MeasureVariable, "on")
	if got := outcomeOf(t, Measure); got != "ran" {
		t.Errorf("on: %s, want ran", got)
	}
}
