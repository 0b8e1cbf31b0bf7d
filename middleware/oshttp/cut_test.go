package oshttp_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/codes"

	"github.com/go-os/go-os/middleware/oshttp"
)

// stream writes a line each millisecond until its context ends.
func stream(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		_, _ = io.WriteString(w, "data: x\n\n")
		_ = http.NewResponseController(w).Flush()
		time.Sleep(time.Millisecond)
	}
}

// A client must be able to tell a response that the deadline cut from a complete one, on every protocol.
func TestCutResponsesAreAborted(t *testing.T) {
	for name, limit := range map[string]struct {
		opts   oshttp.HandlerOptions
		header string
	}{
		"by Timeout":           {oshttp.HandlerOptions{Timeout: 20 * time.Millisecond}, ""},
		"by a caller's header": {oshttp.HandlerOptions{DeadlineHeader: oshttp.DefaultDeadlineHeader}, "20"},
	} {
		protocols(t, func(t *testing.T, g *rig, serve func(http.Handler) (*httptest.Server, *http.Client)) {
			srv, client := serve(g.handler(http.HandlerFunc(stream), limit.opts))
			r := newRequest(t, http.MethodGet, srv.URL, nil)
			if limit.header != "" {
				r.Header.Set(oshttp.DefaultDeadlineHeader, limit.header)
			}
			res, err := client.Do(r)
			if err == nil {
				_, err = io.ReadAll(res.Body)
				res.Body.Close()
			}
			g.wait()
			if err == nil {
				t.Errorf("%s: a stream that was cut ended as a whole response", name)
			}
			span := g.span()
			if got := plain(span.Attributes())["error.type"]; got != "timeout" || span.Status().Code != codes.Error {
				t.Errorf("%s: the span has error.type %q and the status %v", name, got, span.Status())
			}
		})
	}
}

// Only responses that may be incomplete are aborted.
func TestWholeResponsesAreNotAborted(t *testing.T) {
	const limit = 10 * time.Millisecond
	for _, test := range []struct {
		name    string
		method  string
		handler func(http.ResponseWriter, *http.Request)
		aborted bool
	}{
		{"begun before the deadline", "GET", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "part")
			<-r.Context().Done()
		}, true},
		{"an error, cut", "GET", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			<-r.Context().Done()
		}, true},
		{"fewer bytes than announced", "GET", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "8")
			_, _ = io.WriteString(w, "part")
			<-r.Context().Done()
		}, true},
		{"all the bytes that were announced", "GET", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "4")
			_, _ = io.WriteString(w, "part")
			<-r.Context().Done()
		}, false},
		{"HEAD", "HEAD", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "part")
			<-r.Context().Done()
		}, false},
		{"no content", "GET", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusNoContent)
			<-r.Context().Done()
		}, false},
		{"begun after the deadline", "GET", func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			_, _ = io.WriteString(w, "all")
		}, false},
		{"in time", "GET", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "all") }, false},
		{"nothing written", "GET", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newRig(t).handler(http.HandlerFunc(test.handler), oshttp.HandlerOptions{Timeout: limit})
			defer func() {
				if raised := recover(); (raised == any(http.ErrAbortHandler)) != test.aborted {
					t.Errorf("%s: raised %v, want the response aborted: %t", test.name, raised, test.aborted)
				}
			}()
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(test.method, "/", nil))
		})
	}
}

// A deadline set by other code cuts a response as well.
func TestResponseCutByAnOuterDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newRig(t).handler(http.HandlerFunc(stream), oshttp.HandlerOptions{})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		defer func() {
			if raised, _ := recover().(error); !errors.Is(raised, http.ErrAbortHandler) {
				t.Errorf("raised %v, want the response aborted", raised)
			}
		}()
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
	})
}
