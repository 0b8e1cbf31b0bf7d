package osgrpc

import (
	"context"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/stats"
)

// exactHandler ends the calls of a server when gRPC ends them, and observes those that never reach an interceptor.
type exactHandler struct{ server *server }

type exactKey struct{}

// exactCall is the state that gRPC's events and the interceptors share about one call. One goroutine handles a call, so
// it needs no lock.
type exactCall struct {
	name    string
	call    serverCall // set by the interceptor when the handler has returned
	pending bool
	seen    bool // by an interceptor
}

// TagRPC prepares a call for its interceptor.
func (h *exactHandler) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	if !h.server.filter(info.FullMethodName) || h.server.isProbe(info.FullMethodName) {
		return ctx
	}
	return context.WithValue(ctx, exactKey{}, &exactCall{name: info.FullMethodName})
}

// postpone leaves the end of the call to the stats handler, unless a panic ends the process: then no event follows.
func (c *serverCall) postpone() bool {
	e, ok := c.ctx.Value(exactKey{}).(*exactCall)
	if !ok {
		return false
	}
	e.seen = true
	if c.crashing {
		return false
	}
	e.call, e.pending = *c, true
	return true
}

// HandleRPC ends the call with the error that the caller received, which is not always the handler's.
func (h *exactHandler) HandleRPC(ctx context.Context, event stats.RPCStats) {
	end, ok := event.(*stats.End)
	if !ok {
		return
	}
	e, ok := ctx.Value(exactKey{}).(*exactCall)
	switch {
	case !ok:
	case e.pending:
		e.call.close(end.Error)
	case !e.seen:
		h.unseen(ctx, e.name, end)
	}
}

// unseen reports a call that failed before its handler. Its method is known to be registered only if another call of it
// got further: a name from outside must not become an attribute of a metric.
func (h *exactHandler) unseen(ctx context.Context, fullMethod string, end *stats.End) {
	c := serverCall{server: h.server, ctx: ctx, start: end.BeginTime}
	if m, ok := h.server.registered.Load(fullMethod); ok {
		c.method = m.(*method)
	} else {
		c.method, c.name = h.server.other, foreignName(fullMethod)
	}
	c.open(trace.WithTimestamp(end.BeginTime))
	c.report(end.Error)
}

// TagConn does nothing: connections are not observed.
func (h *exactHandler) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn does nothing: connections are not observed.
func (h *exactHandler) HandleConn(context.Context, stats.ConnStats) {}
