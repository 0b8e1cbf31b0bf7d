package main

import (
	"context"
	"math/rand/v2"
	"time"
)

// scope names the shop's own instrumentation.
const scope = "github.com/go-os/go-os/examples/shop"

// product is one thing the shop sells.
type product struct {
	ID    string `json:"id" config:"-"` // the key among the products
	Name  string `json:"name"`
	Cents int64  `json:"cents"`
}

// work stands for what a real service would do: it takes about this long, or until the request is given up.
func work(ctx context.Context, about time.Duration) error {
	timer := time.NewTimer(about/2 + rand.N(about))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
