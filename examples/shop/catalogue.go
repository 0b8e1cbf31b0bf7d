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
	ID    string `json:"id"`
	Name  string `json:"name"`
	Cents int64  `json:"cents"`
}

func find(id string) (product, bool) {
	for _, p := range []product{
		{"lamp", "Desk lamp", 49_00},
		{"chair", "Office chair", 189_00},
		{"desk", "Standing desk", 640_00},
	} {
		if p.ID == id {
			return p, true
		}
	}
	return product{}, false
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
