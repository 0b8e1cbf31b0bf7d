package main

import (
	"fmt"
	"strings"
	"time"
)

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

func p99(r result) float64      { return milliseconds(r.p99) }
func p995(r result) float64     { return milliseconds(r.p995) }
func timeouts(r result) float64 { return r.timeouts }
func failures(r result) float64 { return r.failures }
func late(r result) float64     { return r.late }
func probes(r result) float64   { return r.probes }

// page returns the Markdown.
func (c *campaign) page() string {
	var b strings.Builder
	fmt.Fprintf(&b, introduction, c.seeds, c.requests)
	c.targets(&b)
	for _, n := range sizes {
		fmt.Fprintf(&b, "\n## %d clients, %d servers\n\n![99th percentile of latency by load](%s)\n", n, n, plotName(n))
		fmt.Fprintf(&b, "\n99th percentile of latency in milliseconds. TO is 5 s, the deadline.\n\n")
		c.table(&b, n, p99, latencyCell)
		fmt.Fprintf(&b, "\nTimeouts, in percent of the requests.\n\n")
		c.table(&b, n, timeouts, percentCell)
	}
	c.dense(&b)
	c.moving(&b)
	c.faults(&b)
	return b.String()
}

const introduction = `# Load balancing, simulated

` + "`go run ./control/router/internal/simulation/cmd/figures`" + ` makes this page. The policies are those of control/router: the simulator drives
the same code. Every figure is the median of %d seeds with %d measured requests each, or a quarter as many in the last three sections. The
interval in parentheses holds the true median with a confidence of at least 95 %%.

The model is that of section 5 of the Prequal paper (Wydick et al., NSDI 2024). A server has an allocation of four cores on a machine that
antagonists share. One machine in ten leaves 0.5 to 0.9 of the allocation, the others 1.2 to 3 times as much. These values change every 2 s.
A request needs CPU time of a normal distribution with a mean of 62 ms and the same deviation, without negative values. At a load of 1, the
requests need the whole allocation of all servers. A request without an answer in 5 s is a timeout, and counts 5 s.

The oracle picks the better of two random servers by their exact requests in flight. Finagle's peak EWMA is a second implementation, from
its source, to compare with ours. "Least loaded, own requests" is what least_request of gRPC does.
`

// target is a ratio or a count that must not exceed a limit.
type target struct {
	name  string
	most  float64
	found spread
}

func (c *campaign) targets(b *strings.Builder) {
	at := func(n int, load float64, policy string) point { return point{normal, n, load, policy} }
	over := func(n int, load float64, other string) spread {
		return c.ratio(at(n, load, "auto"), at(n, load, other), p99)
	}
	lost := func(n int, load float64) spread { return c.spread(at(n, load, "auto"), timeouts) }
	fmt.Fprintf(b, "\n## Targets\n\nRatios of the 99th percentile, seed by seed.\n\n")
	fmt.Fprintf(b, "| auto | at most | measured | |\n|---|---:|---:|---|\n")
	for _, t := range []target{
		{"100×100, load 0.9: of round robin", 0.10, over(100, 0.9, "round robin")},
		{"100×100, load 0.9: of the oracle", 1.10, over(100, 0.9, "oracle")},
		{"20×20, load 0.9: of the oracle", 1.10, over(20, 0.9, "oracle")},
		{"20×20, load 0.9: of finagle's peak EWMA", 1.05, over(20, 0.9, "finagle's peak EWMA")},
		{"20×20, load 0.9: of peak_ewma", 1.05, over(20, 0.9, "peak_ewma")},
		{"100×100, load 1.27: timeouts", 0, lost(100, 1.27)},
		{"100×100, load 1.74: timeouts", 0, lost(100, 1.74)},
		{"20×20, load 1.74: timeouts", 0, lost(20, 1.74)},
	} {
		verdict := "met"
		if t.found.median > t.most {
			verdict = "missed"
		}
		fmt.Fprintf(b, "| %s | %.2f | %s | %s |\n", t.name, t.most, ratioCell(t.found), verdict)
	}
}

func (c *campaign) table(b *strings.Builder, n int, value func(result) float64, cell func(spread) string) {
	fmt.Fprint(b, "| load |")
	for _, load := range loads {
		fmt.Fprintf(b, " %.2f |", load)
	}
	fmt.Fprintf(b, "\n|---|%s\n", strings.Repeat("---:|", len(loads)))
	for _, policy := range c.measured(normal, n) {
		fmt.Fprintf(b, "| %s |", policy)
		for _, load := range loads {
			fmt.Fprintf(b, " %s |", cell(c.spread(point{normal, n, load, policy}, value)))
		}
		fmt.Fprintln(b)
	}
}

func (c *campaign) dense(b *strings.Builder) {
	fmt.Fprint(b, denseIntroduction)
	for _, policy := range c.measured(dense, 20) {
		at := point{dense, 20, 0.9, policy}
		fmt.Fprintf(b, "| %s | %s | %s |\n", policy, latencyCell(c.spread(at, p99)), numberCell(c.spread(at, probes)))
	}
}

const denseIntroduction = `
## Few clients, many requests

In the fleets above, a client calls each server too seldom to know its load, so that auto probes, and does the same as prequal. Here 4 clients
call 20 servers of 16 cores at a load of 0.9: each has several requests at every server. Auto then sends fewer probes.

| policy | p99, ms | probes for each request, warm-up included |
|---|---:|---:|
`

func (c *campaign) moving(b *strings.Builder) {
	fmt.Fprintf(b, "\n## Moving antagonists\n\nHere the crowded machines change every 2 s, too, at a load of 0.9. What a client has learnt of a server is soon "+
		"wrong.\n99th percentile in milliseconds.\n\n| policy | 100×100 | 20×20 |\n|---|---:|---:|\n")
	for _, policy := range c.measured(moving, sizes[0]) {
		fmt.Fprintf(b, "| %s |", policy)
		for _, n := range sizes {
			fmt.Fprintf(b, " %s |", latencyCell(c.spread(point{moving, n, 0.9, policy}, p99)))
		}
		fmt.Fprintln(b)
	}
}

func (c *campaign) faults(b *strings.Builder) {
	fmt.Fprint(b, faultsIntroduction)
	for _, policy := range c.measured(sink, 20) {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", policy,
			percentCell(c.spread(point{sink, 20, 0.7, policy}, failures)),
			percentCell(c.spread(point{frozen, 20, 0.7, policy}, late)),
			latencyCell(c.spread(point{slow, 16, 0.3, policy}, p99)),
			latencyCell(c.spread(point{slow, 16, 0.3, policy}, p995)))
	}
}

const faultsIntroduction = `
## Faults

Five clients, servers of two cores, no antagonists. Nothing is ejected, and nothing retried: the policy is on its own.

- Failing: 2 of 20 servers fail every request at once. The share of failed requests in percent.
- Silent: 1 of 20 servers stops without a reset. The share of the requests that go there, in percent, from 2 s after.
- Slow: 2 of 16 servers are 16 times slower than one core, the load is 0.3. 99th and 99.5th percentile in milliseconds.

| policy | failing | silent | slow, p99 | slow, p99.5 |
|---|---:|---:|---:|---:|
`

func latencyCell(s spread) string {
	if s.median >= 5000 {
		return "TO"
	}
	return fmt.Sprintf("%.0f (%.0f–%.0f)", s.median, s.low, s.high)
}

func ratioCell(s spread) string { return fmt.Sprintf("%.3f (%.3f–%.3f)", s.median, s.low, s.high) }

func numberCell(s spread) string { return fmt.Sprintf("%.2f", s.median) }

func percentCell(s spread) string {
	if s.high == 0 {
		return "0"
	}
	return fmt.Sprintf("%.2f (%.2f–%.2f)", 100*s.median, 100*s.low, 100*s.high)
}
