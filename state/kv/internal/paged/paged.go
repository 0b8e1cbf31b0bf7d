// Package paged lists the items of an engine that finds keys neither in order nor page by page. The first page collects all keys, and
// each page reads the values of its own keys.
package paged

import (
	"context"

	"github.com/go-os/go-os/state/kv/driver"
)

// List returns a page. keys returns all keys below a prefix, in order. read returns the items of the given keys, without those that were
// deleted meanwhile. Page.Next holds the remaining keys.
func List(
	ctx context.Context, req driver.ListRequest,
	keys func(ctx context.Context, prefix string) ([]string, error), read func(context.Context, []string) ([]driver.Item, error),
) (page driver.Page, err error) {
	left, begun := req.Next.([]string)
	if !begun {
		if left, err = keys(ctx, req.Prefix); err != nil {
			return page, err
		}
	}
	here := left[:min(req.Limit, len(left))]
	if page.Items, err = read(ctx, here); err != nil {
		return driver.Page{}, err
	}
	if left = left[len(here):]; len(left) > 0 {
		page.Next = left
	}
	return page, nil
}
