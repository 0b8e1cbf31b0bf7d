package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/go-os/go-os/internal/tooling/bench"
)

// fleets writes how soon a change is in force everywhere. If measure is false, the figures are zero.
func fleets(out *bytes.Buffer, measure bool) {
	fmt.Fprint(out, `
## Configuration, a fleet

1,000 instances in one process, on 10 clients, follow one key, or one layer of published versions, on an etcd on loopback. Each of 30 changes is
written when all instances have seen the one before, and all instances see all changes. The delay is from the beginning of the write until the
new configuration is in force in an instance. It includes the watch, the read, parsing, checking and the call of OnChange, for a thousand
instances on the same cores.

| source | delay, median | delay, 99th percentile | most |
|---|---:|---:|---:|
`)
	for _, f := range bench.Fleets {
		var s bench.Seen
		if measure {
			fmt.Fprintln(os.Stderr, "measuring: a fleet,", f.Name())
			var err error
			bench.With(func(h *bench.Host) {
				if s, err = f.Measure(h); err == nil {
					err = s.Whole(f)
				}
			})
			if err != nil {
				fail(err)
			}
		}
		fmt.Fprintf(out, "| %s | %d ns | %d ns | %d ns |\n", f.Name(), s.P50.Nanoseconds(), s.P99.Nanoseconds(), s.Max.Nanoseconds())
	}
}
