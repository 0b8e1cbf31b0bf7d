package oshttp_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/go-chi/chi/v5"
	"go.opentelemetry.io/otel"

	"github.com/go-os/go-os/middleware/oshttp"
)

func nothing(http.ResponseWriter, *http.Request) {}

func TestRoutes(t *testing.T) {
	mux := http.NewServeMux()
	for _, pattern := range []string{"GET /users/{id}", "/any/", "POST host.example/hosted/{rest...}", "GET /{$}"} {
		mux.HandleFunc(pattern, nothing)
	}
	inner := http.NewServeMux()
	inner.HandleFunc("GET /nested/deep/{x}", nothing)
	mux.Handle("/nested/", inner)
	stripped := http.NewServeMux()
	stripped.HandleFunc("GET /items/{id}", func(w http.ResponseWriter, r *http.Request) {
		if !oshttp.SetRoute(wrapper{w}, "/api"+r.Pattern[len("GET "):]) {
			t.Error("SetRoute did not find the middleware")
		}
	})
	mux.Handle("/api/", http.StripPrefix("/api", stripped))
	for _, test := range []struct{ method, target, route, name string }{
		{"GET", "/users/42", "/users/{id}", "GET /users/{id}"},
		{"HEAD", "/users/42", "/users/{id}", "HEAD /users/{id}"},
		{"GET", "/any/thing", "/any/", "GET /any/"},
		{"BREW", "/any/thing", "/any/", "HTTP /any/"},
		{"POST", "http://host.example/hosted/a/b", "/hosted/{rest...}", "POST /hosted/{rest...}"},
		{"GET", "/", "/{$}", "GET /{$}"},
		{"GET", "/nested/deep/1", "/nested/deep/{x}", "GET /nested/deep/{x}"},
		{"GET", "/api/items/1", "/api/items/{id}", "GET /api/items/{id}"},
		{"GET", "/nowhere", "", "GET"},
		{"DELETE", "/users/42", "", "DELETE"},
		{"BREW", "/nowhere", "", "HTTP"},
	} {
		g := newRig(t)
		h := g.handler(mux, oshttp.HandlerOptions{})
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(test.method, test.target, nil))
		span, point := g.span(), g.duration("http.server.request.duration")
		if got := plain(span.Attributes())["http.route"]; got != test.route || point["http.route"] != test.route || span.Name() != test.name {
			t.Errorf("%s %s: route %q on the span, %q on the metric, name %q, want %q and %q",
				test.method, test.target, got, point["http.route"], span.Name(), test.route, test.name)
		}
	}
}

func TestRouteOfAnotherRouter(t *testing.T) {
	for name, hook := range map[string]func(*http.Request) string{
		"pattern set by the router": nil,
		"hook":                      func(r *http.Request) string { return chi.RouteContext(r.Context()).RoutePattern() },
	} {
		g := newRig(t)
		router := chi.NewRouter()
		router.Use(func(next http.Handler) http.Handler { return g.handler(next, oshttp.HandlerOptions{Route: hook}) })
		router.Route("/shops/{shop}", func(r chi.Router) { r.Get("/carts/{cart}", nothing) })
		router.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/shops/1/carts/2", nil))
		if got := g.span().Name(); got != "GET /shops/{shop}/carts/{cart}" {
			t.Errorf("%s: span %q", name, got)
		}
	}
}

// A Route function that panics is reported, and only the route is lost.
func TestRouteHookThatPanics(t *testing.T) {
	var reported []error
	before := otel.GetErrorHandler()
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { reported = append(reported, err) }))
	t.Cleanup(func() { otel.SetErrorHandler(before) })
	g := newRig(t)
	h := g.handler(http.HandlerFunc(nothing), oshttp.HandlerOptions{Route: func(*http.Request) string { panic("no route") }})
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	if g.span().Name() != "GET" || g.active("http.server.active_requests") != 0 || len(reported) != 1 {
		t.Errorf("span %q, %d active, reported %v", g.span().Name(), g.active("http.server.active_requests"), reported)
	}
}

// Outer middleware finds the pattern on its own request.
func TestPatternIsWrittenBack(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /users/{id}", nothing)
	r := httptest.NewRequest(http.MethodGet, "/users/42", nil)
	newRig(t).handler(mux, oshttp.HandlerOptions{}).ServeHTTP(httptest.NewRecorder(), r)
	if r.Pattern != "GET /users/{id}" {
		t.Errorf("pattern %q", r.Pattern)
	}
}

func TestSetRouteKnowsItsOwnWriters(t *testing.T) {
	if oshttp.SetRoute(httptest.NewRecorder(), "/x") || oshttp.SetRoute(nil, "/x") {
		t.Error("SetRoute claims a writer that is not the middleware's")
	}
}

// The mux sees a copy of the request, as behind every middleware that changes its context.
func TestRouteBehindACopyOfTheRequest(t *testing.T) {
	copies := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(wrapper{w}, r.WithContext(context.WithValue(r.Context(), nameless{}, "user")))
		})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /users/{id}", nothing)
	mux.HandleFunc("GET /named", func(w http.ResponseWriter, _ *http.Request) { oshttp.SetRoute(w, "/by/the/handler") })
	mux.HandleFunc("GET /panics/{id}", func(http.ResponseWriter, *http.Request) { panic("bug") })
	for path, want := range map[string]string{
		"/users/1": "GET /users/{id}", "/named": "GET /by/the/handler", "/panics/1": "GET /panics/{id}", "/nowhere": "GET",
	} {
		g := newRig(t)
		h := g.handler(copies(copies(oshttp.Routed(mux))), oshttp.HandlerOptions{})
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
		if got := g.span().Name(); got != want {
			t.Errorf("%s: span %q, want %q", path, got, want)
		}
	}
	// Without a NewHandler around it, it is only the router.
	rec := httptest.NewRecorder()
	oshttp.Routed(mux).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/nowhere", nil))
	if rec.Code != http.StatusNotFound {
		t.Errorf("answer %d", rec.Code)
	}
}
