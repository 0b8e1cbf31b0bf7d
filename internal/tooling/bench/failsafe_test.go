package bench

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
)

var update = flag.Bool("update", false, "write the records of other libraries instead of comparing them")

// breakerRecord is how failsafe-go's circuit breaker answers to the same events, which package breaker replays. That package is internal to the
// router, and the library belongs in this module alone.
const breakerRecord = "../../../control/router/internal/breaker/testdata/failsafe.txt"

// TestRecordOfFailsafe: the record is what failsafe-go does.
func TestRecordOfFailsafe(t *testing.T) {
	var out strings.Builder
	out.WriteString("# How the circuit breaker of failsafe-go v0.9.8 answers. Made by `go test -run RecordOfFailsafe . -update` in internal/tooling/bench.\n" +
		"# breaker RATIO VOLUME WINDOW OPEN TRIALS, then a line a call: TIME RESULT ALLOWED STATE\n")
	for seed := range uint64(24) {
		synctest.Test(t, func(t *testing.T) { recordBreaker(&out, rand.New(rand.NewPCG(seed, 1))) })
	}
	if *update {
		if err := os.WriteFile(breakerRecord, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	held, err := os.ReadFile(breakerRecord)
	if err != nil {
		t.Fatal(err)
	}
	if string(held) != out.String() {
		t.Errorf("%s is stale: run `go test -run RecordOfFailsafe . -update` in internal/tooling/bench", breakerRecord)
	}
}

// recordBreaker makes calls at random times to a breaker with random settings. The window has fewer calls than the library's rounding of shares
// to a percent could change.
func recordBreaker(out *strings.Builder, random *rand.Rand) {
	const window, open = time.Second, 700 * time.Millisecond
	ratio := []float64{0.25, 0.5, 0.8, 1}[random.IntN(4)]
	volume, trials := uint(1+random.IntN(12)), uint(1+random.IntN(6))
	b := circuitbreaker.NewBuilder[any]().
		WithFailureRateThreshold(ratio, volume, window).
		WithSuccessThresholdRatio(trials-uint(math.Ceil(ratio*float64(trials)))+1, trials).
		WithDelay(open).Build()
	fmt.Fprintf(out, "breaker %v %d %v %v %d\n", ratio, volume, window, open, trials)
	start := time.Now()
	sick := false
	for range 150 {
		time.Sleep(time.Duration(random.IntN(90)) * time.Millisecond)
		if random.IntN(12) == 0 {
			sick = !sick
		}
		failed := random.IntN(10) < 1 || sick && random.IntN(10) < 8
		allowed := b.TryAcquirePermit()
		result := "success"
		if failed {
			result = "failure"
		}
		switch {
		case allowed && failed:
			b.RecordFailure()
		case allowed:
			b.RecordSuccess()
		}
		state := strings.ReplaceAll(b.State().String(), "-", "_")
		fmt.Fprintf(out, "%v %s %v %s\n", time.Since(start), result, allowed, state)
	}
}
