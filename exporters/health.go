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

// Health holds the accounts of a Pipeline's exports.
type Health struct {
	Traces, Metrics, Logs SignalHealth
}

// SignalHealth is the account of one signal. It counts spans, log records or metric data points over all destinations of the signal: a
// span that is sent to two destinations counts twice. Without a destination it is all zero.
//
// Emitted = Exported + Dropped + Queued holds in every SignalHealth.
type SignalHealth struct {
	// Emitted counts the items made for export: sampled spans, log records, data points of each collection.
	Emitted int64
	// Exported counts the items that a destination has confirmed.
	Exported int64
	// Dropped counts the lost items: the queue was full, the export failed for good, the peer rejected it, or the time to drain was
	// over.
	Dropped int64
	// Queued counts the items that wait or are in flight.
	Queued int64
	// LastSuccess is the time of the last confirmed export. Zero means never.
	LastSuccess time.Time
	// FailuresInARow is the number of failed attempts since the last success, of the destination that has most.
	FailuresInARow int
	// LastError is the error of the last failed attempt, even if later ones succeeded. Nil means that none failed.
	LastError error
}

// Working reports whether the last attempt of every destination succeeded. It is true if there was no attempt yet.
func (h SignalHealth) Working() bool { return h.FailuresInARow == 0 }

// Health returns the current account of each signal.
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
