package consulkv

import (
	"context"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/go-os/go-os/state/kv/driver"
)

// List implements driver.Lister. The first call reads all items; Page.Next holds the remaining ones.
func (d *Driver) List(ctx context.Context, req driver.ListRequest) (driver.Page, error) {
	left, begun := req.Next.([]driver.Item)
	if !begun {
		var err error
		if left, _, err = d.tree(ctx, req.Prefix, &api.QueryOptions{RequireConsistent: true}); err != nil {
			return driver.Page{}, err
		}
	}
	page := driver.Page{Items: left[:min(req.Limit, len(left))]}
	if left = left[len(page.Items):]; len(left) > 0 {
		page.Next = left
	}
	return page, nil
}

// tree returns the items below a prefix, in order, and the index of the response.
func (d *Driver) tree(ctx context.Context, prefix string, q *api.QueryOptions) ([]driver.Item, uint64, error) {
	pairs, meta, err := d.client.KV().List(plain(prefix), q.WithContext(ctx))
	if err != nil {
		return nil, 0, d.classify(ctx, err)
	}
	items := make([]driver.Item, 0, len(pairs))
	for _, pair := range pairs {
		if strings.HasPrefix(pair.Key, prefix) {
			items = append(items, item(pair))
		}
	}
	return items, meta.LastIndex, nil
}

// plain returns the longest leading part of a prefix that reaches Consul unchanged in a URL path. net/http removes empty and dotted
// parts, the client removes a leading slash, and Consul refuses unprintable characters.
func plain(prefix string) string {
	end := 0
	for part := range strings.SplitAfterSeq(prefix, "/") {
		if strings.HasPrefix(part, "/") || strings.HasPrefix(part, ".") || strings.ContainsFunc(part, unprintable) {
			break
		}
		end += len(part)
	}
	return prefix[:end]
}

func unprintable(r rune) bool { return r < ' ' || r > '~' }
