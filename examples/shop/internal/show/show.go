// Package show lets a program look at its own telemetry when no collector is there to do it: one trace as a tree with its
// log lines, and request rates and latencies by route.
//
// It stands where an exporter would: [Recorder] is a span processor and a source of slog sinks, [Rates] reads metrics
// through a reader of its own. Memory is bounded: a recorder keeps the latest traces and the worst one.
package show

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"
)

// WriteTable writes rows in aligned columns. The first row is the heading; cells that are numbers are aligned by their writer.
func WriteTable(w io.Writer, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintf(tw, "  %s\n", strings.Join(row, "\t"))
	}
	return tw.Flush()
}

// millis prints a duration in milliseconds with one decimal: one unit, so that a column can be compared at a glance.
func millis(d time.Duration) string {
	return fmt.Sprintf("%.1fms", float64(d.Microseconds())/1000)
}

// right pads on the left to a width in characters.
func right(s string, width int) string {
	return strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s))) + s
}

// left pads on the right to a width in characters.
func left(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}
