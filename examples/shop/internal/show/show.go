// Package show prints the telemetry of the running program, without a collector: one trace as a tree with its log lines, and request rates
// and latencies by route.
//
// It takes the place of an exporter. [Recorder] is a span processor and provides slog sinks, and [Rates] provides a metric reader. Memory
// is bounded: a recorder keeps the latest traces and the worst one.
package show

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"
)

// WriteTable writes rows in aligned columns. The first row is the heading. The caller must align numbers.
func WriteTable(w io.Writer, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintf(tw, "  %s\n", strings.Join(row, "\t"))
	}
	return tw.Flush()
}

// millis formats a duration in milliseconds with one decimal. All cells of a column have the same unit.
func millis(d time.Duration) string {
	return fmt.Sprintf("%.1fms", float64(d.Microseconds())/1000)
}

// right pads a text on the left to a width in characters.
func right(s string, width int) string {
	return strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s))) + s
}

// left pads a text on the right to a width in characters.
func left(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}
