//go:build unix

package config_test

import (
	"testing"

	"github.com/go-os/go-os/control/config"
)

// BenchmarkLoad measures the load of documents with all keys in one table.
func BenchmarkLoad(b *testing.B) {
	for _, format := range formats {
		b.Run("50000keys/"+format, func(b *testing.B) { benchmarkLoad(b, format, 50_000) })
		b.Run("1MiB/"+format, func(b *testing.B) { benchmarkLoad(b, format, keysFor(format, 1<<20)) })
	}
}

func benchmarkLoad(b *testing.B, format string, keys int) {
	d := &doc{name: "wide", format: format, text: wide(format, keys)}
	b.SetBytes(int64(len(d.text)))
	b.ReportAllocs()
	for b.Loop() {
		cfg, err := config.Load[table](b.Context(), options(d))
		if err != nil || len(cfg.Get().M) < keys {
			b.Fatal("keys are missing:", err)
		}
	}
}

// BenchmarkReloadWide measures the reload of a document of 72 KiB that changes each time.
func BenchmarkReloadWide(b *testing.B) {
	const size = 72 << 10
	for _, format := range formats {
		b.Run(format, func(b *testing.B) {
			cfg, err := config.Load[table](b.Context(), options(newChanging(format, size)))
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				if err := cfg.Reload(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
