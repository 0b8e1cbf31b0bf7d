// Command figures runs the simulations of docs/router-simulation.md, and writes the page and its plots.
//
//	go run ./control/router/internal/simulation/cmd/figures
//
// It takes about twenty minutes on two busy cores. The seeds are fixed: it writes the same page each time.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

func main() {
	seeds := flag.Int("seeds", 10, "seeds of each figure")
	requests := flag.Int("requests", 100_000, "measured requests of each run")
	workers := flag.Int("workers", runtime.GOMAXPROCS(0), "runs at once")
	out := flag.String("out", "docs", "folder of the page and the plots")
	flag.Parse()
	if err := run(*out, &campaign{seeds: *seeds, requests: *requests, workers: *workers}); err != nil {
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1)
	}
}

// run writes the page and the plots.
func run(out string, c *campaign) error {
	if c.seeds < 6 || c.requests < 1000 || c.workers < 1 {
		return fmt.Errorf("%d seeds, %d requests, %d workers: use at least 6, 1000 and 1", c.seeds, c.requests, c.workers)
	}
	c.run()
	for _, n := range sizes {
		if err := os.WriteFile(filepath.Join(out, plotName(n)), c.plot(n), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(out, "router-simulation.md"), []byte(c.page()), 0o644)
}

func plotName(n int) string { return fmt.Sprintf("router-simulation-%d.png", n) }
