//go:build race

package config_test

// raced is whether the race detector is on, which makes everything several times slower, and not evenly.
const raced = true
