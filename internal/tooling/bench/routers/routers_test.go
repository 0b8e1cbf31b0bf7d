package routers_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/gorilla/mux"
	"github.com/labstack/echo/v4"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

// rig is the telemetry of one router's service.
type rig struct {
	spans *tracetest.SpanRecorder
	opts  *oshttp.HandlerOptions
}

func newRig() *rig {
	g := &rig{spans: tracetest.NewSpanRecorder()}
	p := telemetry.Off()
	p.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(g.spans))
	p.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	g.opts = &oshttp.HandlerOptions{Telemetry: p}
	return g
}

func (g *rig) wrap(next http.Handler) http.Handler { return oshttp.NewHandler(next, g.opts) }

// services are the combinations of a router and the middleware, as the package comment of oshttp has them. Each serves GET
// /shops/{shop}/carts/{cart}, in its own syntax.
var services = map[string]struct {
	build func(*rig) http.Handler
	want  string // the span's name
}{
	"net/http": {func(g *rig) http.Handler {
		m := http.NewServeMux()
		m.HandleFunc("GET /shops/{shop}/carts/{cart}", answer)
		return g.wrap(m)
	}, "GET /shops/{shop}/carts/{cart}"},
	"net/http behind a copy": {func(g *rig) http.Handler {
		m := http.NewServeMux()
		m.HandleFunc("GET /shops/{shop}/carts/{cart}", answer)
		return g.wrap(copies(oshttp.Routed(m)))
	}, "GET /shops/{shop}/carts/{cart}"},
	"chi inside": {func(g *rig) http.Handler {
		r := chi.NewRouter()
		r.Use(g.wrap)
		r.Route("/shops/{shop}", func(r chi.Router) { r.Get("/carts/{cart}", answer) })
		return r
	}, "GET /shops/{shop}/carts/{cart}"},
	"chi around": {func(g *rig) http.Handler {
		r := chi.NewRouter()
		r.Use(oshttp.Routed)
		r.Route("/shops/{shop}", func(r chi.Router) { r.Get("/carts/{cart}", answer) })
		return g.wrap(r)
	}, "GET /shops/{shop}/carts/{cart}"},
	"gorilla": {func(g *rig) http.Handler {
		g.opts.Route = func(r *http.Request) string { t, _ := mux.CurrentRoute(r).GetPathTemplate(); return t }
		r := mux.NewRouter()
		r.Use(g.wrap)
		r.PathPrefix("/shops/{shop}").Subrouter().HandleFunc("/carts/{cart}", answer)
		return r
	}, "GET /shops/{shop}/carts/{cart}"},
	"gin": {func(g *rig) http.Handler {
		gin.SetMode(gin.TestMode)
		r := gin.New()
		r.Use(func(c *gin.Context) { c.Next(); oshttp.SetRoute(c.Writer, c.FullPath()) })
		r.GET("/shops/:shop/carts/:cart", gin.WrapF(answer))
		return g.wrap(r)
	}, "GET /shops/:shop/carts/:cart"},
	"echo around": {func(g *rig) http.Handler {
		r := echo.New()
		r.Use(echoRoute)
		r.GET("/shops/:shop/carts/:cart", echo.WrapHandler(http.HandlerFunc(answer)))
		return g.wrap(r)
	}, "GET /shops/:shop/carts/:cart"},
	"echo.WrapMiddleware": {func(g *rig) http.Handler {
		r := echo.New()
		r.Use(echo.WrapMiddleware(g.wrap), echoRoute)
		r.GET("/shops/:shop/carts/:cart", echo.WrapHandler(http.HandlerFunc(answer)))
		return r
	}, "GET /shops/:shop/carts/:cart"},
}

func echoRoute(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		err := next(c)
		oshttp.SetRoute(c.Response(), c.Path())
		return err
	}
}

func answer(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "cart") }

type key struct{}

// copies is middleware that copies the request, like all middleware that changes the context.
func copies(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, "user")))
	})
}

func TestRoutes(t *testing.T) {
	for name, service := range services {
		t.Run(name, func(t *testing.T) {
			g := newRig()
			h := service.build(g)
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/shops/1/carts/2", nil))
			spans := g.spans.Ended()
			if rec.Body.String() != "cart" || len(spans) != 1 || spans[0].Name() != service.want {
				t.Errorf("answer %d %q, %d spans, want one named %q", rec.Code, rec.Body, len(spans), service.want)
				for _, s := range spans {
					t.Logf("span %q", s.Name())
				}
			}
		})
	}
}

// TestNothingIsLeftBehind: routers that make their middleware for each request leave nothing behind.
func TestNothingIsLeftBehind(t *testing.T) {
	for name, service := range services {
		t.Run(name, func(t *testing.T) {
			g := newRig()
			h := service.build(g)
			serve := func() int64 {
				for range 2000 {
					h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/shops/1/carts/2", nil))
					g.spans.Reset()
				}
				runtime.GC()
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return int64(m.HeapAlloc)
			}
			before := serve()
			if grown := serve() - before; grown > 1_000_000 {
				t.Errorf("2000 requests leave %d bytes behind", grown)
			}
		})
	}
}

// TestGinStream: gin's Stream needs http.CloseNotifier, and panics without it.
func TestGinStream(t *testing.T) {
	g := newRig()
	gin.SetMode(gin.TestMode)
	r := gin.New()
	r.GET("/stream", func(c *gin.Context) {
		n := 0
		c.Stream(func(w io.Writer) bool {
			n++
			c.SSEvent("message", n)
			return n < 3
		})
	})
	srv := httptest.NewServer(g.wrap(r))
	defer srv.Close()
	res, err := http.Get(srv.URL + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	events := 0
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "data:") {
			events++
		}
	}
	if res.StatusCode != http.StatusOK || events != 3 {
		t.Errorf("answer %d with %d events, want 200 with 3", res.StatusCode, events)
	}
}

// TestConnect mounts handlers of connect-go by procedure. It covers unary calls, streams, errors, and unregistered procedures.
func TestConnect(t *testing.T) {
	const ping, watch = "/acme.v1.Ping/Ping", "/acme.v1.Ping/Watch"
	g := newRig()
	m := http.NewServeMux()
	m.Handle(ping, connect.NewUnaryHandler(ping, func(context.Context, *connect.Request[emptypb.Empty]) (*connect.Response[emptypb.Empty], error) {
		return connect.NewResponse(&emptypb.Empty{}), nil
	}))
	m.Handle(watch, connect.NewServerStreamHandler(watch, func(_ context.Context, _ *connect.Request[emptypb.Empty], s *connect.ServerStream[emptypb.Empty]) error {
		for range 3 {
			if err := s.Send(&emptypb.Empty{}); err != nil {
				return err
			}
		}
		return nil
	}))
	srv := httptest.NewServer(g.wrap(m))
	defer srv.Close()
	if _, err := connect.NewClient[emptypb.Empty, emptypb.Empty](srv.Client(), srv.URL+ping).
		CallUnary(t.Context(), connect.NewRequest(&emptypb.Empty{})); err != nil {
		t.Fatal(err)
	}
	stream, err := connect.NewClient[emptypb.Empty, emptypb.Empty](srv.Client(), srv.URL+watch).
		CallServerStream(t.Context(), connect.NewRequest(&emptypb.Empty{}))
	if err != nil {
		t.Fatal(err)
	}
	received := 0
	for stream.Receive() {
		received++
	}
	if err := stream.Err(); err != nil || received != 3 {
		t.Errorf("%d messages, %v, want 3", received, err)
	}
	_ = stream.Close()
	if _, err := connect.NewClient[emptypb.Empty, emptypb.Empty](srv.Client(), srv.URL+"/acme.v1.Ping/Unknown").
		CallUnary(t.Context(), connect.NewRequest(&emptypb.Empty{})); err == nil {
		t.Error("an unknown procedure is answered")
	}
	srv.Close() // all spans have ended
	var names []string
	for _, s := range g.spans.Ended() {
		names = append(names, s.Name())
	}
	if got, want := strings.Join(names, ", "), "POST "+ping+", POST "+watch+", POST"; got != want {
		t.Errorf("the spans are %s, want %s", got, want)
	}
}
