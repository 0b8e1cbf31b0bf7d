package serverload

import (
	"strconv"
	"time"
)

// The names of the report's parts in headers and metadata, and the HTTP path that answers with them. They are those of envoy-prequal and
// prequal-rs, so that their clients understand our servers and ours understand theirs.
const (
	InFlightKey = "x-prequal-rif"        // the number of requests in flight
	LatencyKey  = "x-prequal-latency-us" // the expected latency in microseconds; 0 if it is unknown
	ProbePath   = "/prequal/probe"
)

// Report is the load of a server.
type Report struct {
	InFlight int           // requests in flight
	Latency  time.Duration // that one more request can expect; zero if it is unknown
}

// Values returns the values of InFlightKey and LatencyKey.
func (r Report) Values() (inFlight, latency string) {
	return strconv.Itoa(r.InFlight), strconv.FormatInt(r.Latency.Microseconds(), 10)
}

// The largest values that Parse accepts. A server that claims more is broken, or means something else by the names.
const (
	maxInFlight = 1 << 24
	maxLatency  = time.Hour
)

// Parse reads a report from the values of InFlightKey and LatencyKey. The latency may be missing. It reports false if a value is not a
// number in its range: the answers of servers are not trusted.
func Parse(inFlight, latency string) (Report, bool) {
	n, ok := parse(inFlight, maxInFlight)
	if !ok {
		return Report{}, false
	}
	if latency == "" {
		return Report{InFlight: int(n)}, true
	}
	micros, ok := parse(latency, maxLatency.Microseconds())
	if !ok {
		return Report{}, false
	}
	return Report{InFlight: int(n), Latency: time.Duration(micros) * time.Microsecond}, true
}

// parse reads digits, and nothing else, as a number up to most.
func parse(s string, most int64) (n int64, ok bool) {
	if s == "" || len(s) > 18 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, n <= most
}
