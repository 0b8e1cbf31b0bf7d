package suite

import "testing"

func TestLong(t *testing.T) {
	for value, want := range map[string]string{"": "skipped", "off": "skipped", "on": "ran", "yes": "failed"} {
		t.Run("value "+value, func(t *testing.T) {
			t.Setenv(LongVariable, value)
			w, outcome := &Witness{TB: t}, "skipped"
			done := make(chan struct{})
			go func() {
				defer close(done)
				Long(w)
				outcome = "ran"
			}()
			<-done
			if w.Failed() {
				outcome = "failed"
			}
			if outcome != want {
				t.Errorf("%s, want %s", outcome, want)
			}
		})
	}
}
