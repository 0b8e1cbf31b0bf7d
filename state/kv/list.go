package kv

import (
	"context"
	"iter"

	"github.com/go-os/go-os/state/kv/driver"
)

// List returns the items whose keys begin with prefix, ordered by the bytes of their keys. An empty prefix means all. It requests page
// after page from the engine as the loop continues. With the ability SnapshotList all pages show one moment. Without it, items that are
// written during the loop may be missing; all others are returned once.
//
// An error ends the list, in the last pair.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		req := driver.ListRequest{Limit: s.engine.opts.PageSize}
		for {
			page, err := s.page(ctx, prefix, req)
			if err != nil {
				yield(Item{}, err)
				return
			}
			for _, it := range page.Items {
				it.Key = it.Key[len(s.prefix):]
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

func (s *Store) page(ctx context.Context, prefix string, req driver.ListRequest) (page driver.Page, err error) {
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
	return lister.List(ctx, req)
}
