//go:build !race

package router_test

// raceEnabled reports that the race detector is on: it makes tests ten times as slow.
const raceEnabled = false
