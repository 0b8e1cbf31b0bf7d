package oshttp

import (
	"fmt"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel"

	"github.com/go-os/go-os/internal/sanitize"
)

// SetRoute sets the route of the request that w answers, a template of low cardinality such as "/api/users/{id}". It is for
// handlers behind http.StripPrefix or a router that the middleware cannot inspect, and overrides every other source of the
// route. It reports whether w came from NewHandler, possibly wrapped by writers that have an Unwrap method.
func SetRoute(w http.ResponseWriter, route string) bool {
	x := exchangeOf(w)
	if x == nil {
		return false
	}
	x.setRoute(route)
	x.chosen = true
	return true
}

// exchangeOf returns the exchange of w, or of a writer that it wraps; nil if there is none.
func exchangeOf(w http.ResponseWriter) *exchange {
	for w != nil {
		if own, ok := w.(interface{ self() *exchange }); ok {
			return own.self()
		}
		inner, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return nil
		}
		w = inner.Unwrap()
	}
	return nil
}

func (x *exchange) self() *exchange { return x }

// Routed returns a router that reports the route it finds to the NewHandler around it. It is needed if middleware between
// the two copies the request, as a change of the context does: the router then leaves its pattern on the copy.
//
//	handler := oshttp.NewHandler(authenticate(oshttp.Routed(mux)), nil)
//
// A router is any handler that sets the Pattern of its request, as http.ServeMux and chi do. SetRoute takes precedence.
func Routed(router http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { foundRoute(w, routeOf(r.Pattern)) }()
		router.ServeHTTP(w, r)
	})
}

// foundRoute sets the route of the request that w answers, unless it has one.
func foundRoute(w http.ResponseWriter, route string) {
	if x := exchangeOf(w); x != nil && x.route == "" {
		x.setRoute(route)
	}
}

func (x *exchange) setRoute(route string) { x.route = sanitize.Text(route, maxURL) }

// findRoute returns the route of the request, which is known only after the router has run.
func (x *exchange) findRoute() string {
	switch {
	case x.route != "":
		return x.route
	case x.h.opts.Route != nil:
		return x.askRoute()
	}
	return routeOf(x.req.Pattern)
}

// askRoute calls the Route option. If it panics, perhaps on a request that its router has not seen, only the route is lost.
func (x *exchange) askRoute() (route string) {
	defer func() {
		if v := recover(); v != nil {
			route = ""
			otel.Handle(fmt.Errorf("oshttp: HandlerOptions.Route panicked, the request has no route: %v", v))
		}
	}()
	return sanitize.Text(x.h.opts.Route(x.req), maxURL)
}

// routeOf returns the path of a pattern of http.ServeMux, which is [METHOD ][HOST]/[PATH].
func routeOf(pattern string) string {
	if i := strings.IndexByte(pattern, '/'); i >= 0 {
		return pattern[i:]
	}
	return ""
}

type nameKey struct{ method, route string }

func spanName(k nameKey) string { return spanMethod(k.method) + " " + k.route }

// name returns the span's name, "{method} {route}".
func (x *exchange) name() string {
	if x.route == "" {
		return spanMethod(x.method)
	}
	return x.h.names.Get(nameKey{x.method, x.route}, spanName)
}
