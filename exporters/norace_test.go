//go:build !race

package exporters

// raced is whether the race detector is on, see race_test.go.
const raced = false
