//go:build race

package exporters

// raced reports whether the race detector is on. It slows everything down several times, and unevenly.
const raced = true
