package oshttp

import (
	"context"
	"hash/maphash"
	"log/slog"
	"strings"
	"sync/atomic"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// manyPaths is the number of paths served under one route from which it is reported: more than a single-page site has files.
const manyPaths = 32

// catchAll detects that one route serves many paths, so that a whole site is one series and one span name. It counts paths by the
// bits of a small set. Two paths may share a bit, which delays the report and never causes one. It is safe for concurrent use,
// takes no lock, and costs one atomic load after the report.
type catchAll struct {
	seed  maphash.Seed
	seen  [256 / 64]atomic.Uint64
	paths atomic.Int64 // bits of seen
}

// add counts a path. It reports true once, for the path that reaches manyPaths.
func (c *catchAll) add(path string) bool {
	if c.paths.Load() >= manyPaths {
		return false
	}
	hash := maphash.String(c.seed, path[:min(len(path), maxURL)])
	word, bit := &c.seen[hash>>6%uint64(len(c.seen))], uint64(1)<<(hash&63)
	if word.Or(bit)&bit != 0 {
		return false
	}
	return c.paths.Add(1) == manyPaths
}

// isCatchAll reports whether a route does not depend on the path: it is empty, or it matches every path.
func isCatchAll(route string) bool {
	switch route {
	case "", "/", "/*":
		return true
	}
	return strings.HasPrefix(route, "/{") && strings.HasSuffix(route, "...}") && strings.Count(route, "/") == 1
}

// reportCatchAll reports, once for each handler, that a catch-all route hides the paths of the service. Only paths that were
// served count: scanners request thousands that do not exist. A route that the program set itself is never reported.
func (x *exchange) reportCatchAll(ctx context.Context) {
	chosen := x.chosen || x.h.opts.Route != nil
	served := x.status >= 200 && x.status <= 299
	if chosen || !served || !isCatchAll(x.route) || !x.h.catchAll.add(x.caller.URL.Path) {
		return
	}
	x.h.opts.Telemetry.Slog().LogAttrs(ctx, slog.LevelWarn, "many paths share one route, and so one metric series and one span name",
		slog.String(string(semconv.HTTPRouteKey), x.route),
		slog.Int("paths", manyPaths),
		slog.String("remedy", "register a pattern for each resource, wrap the router in oshttp.Routed, or set HandlerOptions.Route; "+
			"a Route that returns \"/\" keeps one series"),
	)
}
