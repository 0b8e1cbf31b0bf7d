//go:build !race

package config_test

// raced is whether the race detector is on.
const raced = false
