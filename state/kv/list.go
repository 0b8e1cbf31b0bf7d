package kv

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/go-os/go-os/state/kv/driver"
)

// List returns the items whose keys begin with prefix, ordered by the bytes of their keys. An empty prefix means all. It requests pages
// from the engine as the loop continues. With the ability SnapshotList all pages show one moment. Without it, items that are written
// during the loop may be missing; all others are returned once.
//
// An error ends the list, in the last pair.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		req := driver.ListRequest{Limit: s.engine.opts.PageSize}
		var last *string // last key of the previous pages
		for {
			page, err := s.page(ctx, prefix, req, last)
			if err != nil {
				yield(Item{}, err)
				return
			}
			if n := len(page.Items); n > 0 {
				last = &page.Items[n-1].Key
			}
			for _, it := range page.Items {
				it.Key = strings.TrimPrefix(it.Key, s.prefix)
				if !yield(it, nil) {
					return
				}
			}
			if req.Next = page.Next; req.Next == nil {
				return
			}
		}
	}
}

// page requests one page. The page must start after the last key of the previous ones, because a list that does not advance would never
// end.
func (s *Store) page(ctx context.Context, prefix string, req driver.ListRequest, last *string) (page driver.Page, err error) {
	ctx, call := s.engine.list.Start(ctx, prefix)
	defer call.End(ctx, &err)
	if err := s.usable(ctx); err != nil {
		return page, err
	}
	lister, err := optional[driver.Lister](s.engine, List)
	if err != nil {
		return page, err
	}
	if req.Prefix, err = s.full(prefix); err != nil {
		return page, err
	}
	page, err = lister.List(ctx, req)
	if err == nil && last != nil && len(page.Items) > 0 && page.Items[0].Key <= *last {
		return driver.Page{}, fmt.Errorf("the driver returned %q after %q: pages must be in the order of the keys", page.Items[0].Key, *last)
	}
	return page, err
}
