package kv

import (
	"context"
	"iter"

	"github.com/go-os/go-os/state/kv/driver"
)

// List returns the items whose keys begin with prefix, in the order of their keys' bytes; an empty prefix means all. It
// asks the engine page by page, as the loop goes on. With the ability SnapshotList all pages show one moment; without it,
// items that are written meanwhile may or may not be among them, and all others are, once.
//
// An error ends the list: the last pair holds it.
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
