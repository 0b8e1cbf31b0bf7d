package exporters

import "time"

// Signal is one of the three kinds of telemetry.
type Signal string

// The signals.
const (
	Traces  Signal = "traces"
	Metrics Signal = "metrics"
	Logs    Signal = "logs"
)

// Health is what a Pipeline knows of its exports.
type Health struct {
	Traces, Metrics, Logs SignalHealth
}

// SignalHealth is the account of one signal. It counts spans, log records or metric data points, over all destinations
// of the signal: a span that is sent to two places counts twice. Without a destination it is all zero.
//
// Emitted = Exported + Dropped + Queued holds in every one.
type SignalHealth struct {
	// Emitted is what the program made for export: sampled spans, log records, data points of each collection.
	Emitted int64
	// Exported is what a destination has confirmed.
	Exported int64
	// Dropped is what is lost: the queue was full, the export failed for good, the peer rejected it, or the time to drain was over.
	Dropped int64
	// Queued is what waits, or is on its way.
	Queued int64
	// LastSuccess is when a destination last confirmed an export. Zero means never.
	LastSuccess time.Time
	// FailuresInARow is the number of failed attempts since then, of the destination that has most.
	FailuresInARow int
	// LastError is the reason of the last failed attempt, also when later ones worked. Nil means none failed.
	LastError error
}

// Working reports whether the last attempt of every destination succeeded, and true if there was none yet.
func (h SignalHealth) Working() bool { return h.FailuresInARow == 0 }

// Health returns the account of each signal, as of now.
func (p *Pipeline) Health() Health {
	var h Health
	for _, l := range p.ledgers {
		page := l.read()
		switch page.signal {
		case Traces:
			h.Traces.add(page)
		case Metrics:
			h.Metrics.add(page)
		case Logs:
			h.Logs.add(page)
		}
	}
	return h
}

func (h *SignalHealth) add(p page) {
	h.Emitted += p.Emitted
	h.Exported += p.Delivered
	h.Dropped += p.Dropped()
	h.Queued += p.Queued()
	if p.LastSuccess.After(h.LastSuccess) {
		h.LastSuccess = p.LastSuccess
	}
	if h.LastError == nil || p.Failures > h.FailuresInARow {
		h.LastError = p.LastErr
	}
	h.FailuresInARow = max(h.FailuresInARow, p.Failures)
}
