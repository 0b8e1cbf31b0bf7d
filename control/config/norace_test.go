//go:build !race

package config_test

// raced reports whether the race detector is on.
const raced = false
