package main

import (
	"context"
	"math/rand/v2"
	"time"
)

// scope is the instrumentation scope of the shop.
const scope = "github.com/go-os/go-os/examples/shop"

// product is one product of the shop.
type product struct {
	ID    string `json:"id" config:"-"` // the key among the products
	Name  string `json:"name"`
	Cents int64  `json:"cents"`
}

// work simulates the work of a real service. It takes about the given time, or until ctx ends.
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
