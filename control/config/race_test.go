//go:build race

package config_test

// raced reports whether the race detector is on. It makes code several times slower, and not evenly.
const raced = true
