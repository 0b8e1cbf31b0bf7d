package bench

import (
	"fmt"
	"time"
)

// Group is a set of cases that are measured together, with their promises.
type Group struct {
	// Name and What are the heading and the sentence below it in the table.
	Name, What string
	Cases      []Case
	Targets    []Target
}

// Figures are the figures of a group, by the name of the case.
type Figures map[string]*Figure

// Measure measures the cases of the group, interleaved.
func (g Group) Measure(rounds int, each time.Duration) Figures {
	figures := Figures{}
	for i, f := range Measure(g.Cases, rounds, each) {
		figures[g.Cases[i].Name] = &f
	}
	return figures
}

// Target is one promise: a figure and its limit.
type Target struct {
	Name string
	Got  func(Figures) float64
	Most float64
	// Unit is "allocations", "ns" or "×".
	Unit string
}

// Text returns the value in the target's unit.
func (t Target) Text(v float64) string {
	if t.Unit == "×" {
		return fmt.Sprintf("%.2f×", v)
	}
	return fmt.Sprintf("%.0f %s", v, t.Unit)
}

// Groups are all groups, in the order of the table.
var Groups = []Group{
	{
		Name:  "HTTP server",
		What:  "One request with a traceparent, `GET /users/{id}` on net/http's mux, served from memory, with traces and metrics on.",
		Cases: HTTP,
		Targets: []Target{
			{"allocations, sampled", allocs("oshttp, sampled", ""), 13, "allocations"},
			{"allocations, unsampled", allocs("oshttp, unsampled", ""), 8, "allocations"},
			{"time of otelhttp, sampled", ratio("oshttp, sampled", "otelhttp, sampled", ""), 0.5, "×"},
			{"time of otelhttp, unsampled", ratio("oshttp, unsampled", "otelhttp, unsampled", ""), 0.5, "×"},
			{"time of otelhttp, with access log and recovery", ratio("oshttp, sampled, access log", "otelhttp, sampled", ""), 1, "×"},
			{"allocations above otelhttp's, with access log and recovery", allocs("oshttp, sampled, access log", "otelhttp, sampled"), 0, "allocations"},
			{"allocations over the bare mux, providers off", allocs("oshttp, providers off", "bare mux"), 2, "allocations"},
			{"time over the bare mux, providers off", added("oshttp, providers off", "bare mux"), 300, "ns"},
		},
	},
	{
		Name:  "gRPC server",
		What:  "One unary call over an in-memory connection. Only the server is instrumented, with traces and metrics on.",
		Cases: GRPC,
		Targets: []Target{
			{"allocations added, sampled", allocs("osgrpc, sampled", "bare server"), 20, "allocations"},
			{"allocations added, unsampled", allocs("osgrpc, unsampled", "bare server"), 20, "allocations"},
			{"time added, of what otelgrpc adds, sampled", ratio("osgrpc, sampled", "otelgrpc, sampled", "bare server"), 0.5, "×"},
		},
	},
	{
		Name:  "Log fan-out",
		What:  "One log call with four attributes to JSON and to OpenTelemetry log records, inside a recording span. Both cases have the same two handlers.",
		Cases: Logs,
		Targets: []Target{
			{"allocations above slog.MultiHandler's", allocs("telemetry/log", "slog.MultiHandler"), 0, "allocations"},
		},
	},
	{
		Name:  "Configuration, reading",
		What:  "One number of a YAML document, read 1,000 times. koanf and viper look it up by its path. In control/config it is a struct field behind one atomic load.",
		Cases: Config,
		Targets: []Target{
			{"time of 1,000 reads", added("1,000 reads, control/config", ""), 2000, "ns"},
			{"allocations", allocs("1,000 reads, control/config", ""), 0, "allocations"},
		},
	},
	{
		Name:  "Key-value in memory",
		What:  "A Get of one of 10,000 items of 128 bytes. The SDK allocates for each span: three times for an unsampled span, more often for a sampled one.",
		Cases: KV,
		Targets: []Target{
			{"time of sync.Map's Load and a copy, telemetry off", ratio("memkv, telemetry off", "sync.Map, Load and copy", ""), 3, "×"},
			{"allocations, telemetry off", allocs("memkv, telemetry off", ""), 1, "allocations"},
			{"allocations, metrics", allocs("memkv, metrics", ""), 2, "allocations"},
		},
	},
	{
		Name:  "Choice of an endpoint",
		What:  "One choice among 100 endpoints and the end of its request, with telemetry off. round_robin of grpc-go learns nothing and has nothing to end.",
		Cases: Picks,
		Targets: []Target{

			{"allocations, auto", allocs("router, auto", ""), 0, "allocations"},
			{"time of kratos's p2c, auto", ratio("router, auto", "kratos, p2c", ""), 1, "×"},
		},
	},
}

func allocs(name, base string) func(Figures) float64 {
	return func(f Figures) float64 {
		if base == "" {
			return float64(f[name].Allocs)
		}
		return float64(f[name].Allocs - f[base].Allocs)
	}
}

func ratio(name, beside, base string) func(Figures) float64 {
	return func(f Figures) float64 { return Ratio(f[name], f[beside], f[base]) }
}

// added returns the time of a case less that of the base, or all of it if there is no base.
func added(name, base string) func(Figures) float64 {
	return func(f Figures) float64 {
		if base == "" {
			return float64(f[name].Time)
		}
		return float64(f[name].Time - f[base].Time)
	}
}
