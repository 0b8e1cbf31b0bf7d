//go:build !race

package exporters

// raced reports whether the race detector is on, see race_test.go.
const raced = false
