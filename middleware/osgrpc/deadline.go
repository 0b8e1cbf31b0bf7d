package osgrpc

import (
	"context"
	"time"
)

// deadlines bound unary calls.
type deadlines struct {
	normal time.Duration // of calls without one; 0: none
	most   time.Duration // of all calls; 0: none
}

func newDeadlines(opts Options) deadlines {
	d := deadlines{normal: opts.DefaultTimeout, most: opts.Timeout}
	if d.most > 0 && (d.normal == 0 || d.normal > d.most) {
		d.normal = d.most
	}
	return d
}

// bound returns ctx with the applicable deadline. The cancel function is nil if ctx has that deadline
// already.
func (d deadlines) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if d.normal == 0 {
		return ctx, nil
	}
	limit := d.normal
	if at, ok := ctx.Deadline(); ok {
		if d.most == 0 || time.Until(at) <= d.most {
			return ctx, nil
		}
		limit = d.most
	}
	return context.WithTimeout(ctx, limit)
}
