package main

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/go-os/go-os/middleware/oshttp"
)

// runHTTP serves and makes requests over loopback: answered, refused, failed, panicking, timed out, of an unknown method and
// to nobody, with every instrument on.
func runHTTP(ctx context.Context, r *record) error {
	p := r.providers()
	mux := http.NewServeMux()
	mux.HandleFunc("/users/{id}", func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(w, req.Body)
	})
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "out of stock", http.StatusInternalServerError)
	})
	mux.HandleFunc("POST /panic", func(http.ResponseWriter, *http.Request) { panic("bug") })
	mux.HandleFunc("POST /slow", func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() })

	served := make(chan struct{}, 16)
	handler := oshttp.NewHandler(mux, &oshttp.HandlerOptions{
		Telemetry: p,
		Timeout:   20 * time.Millisecond,
		Metrics:   oshttp.MetricDuration | oshttp.MetricActiveRequests | oshttp.MetricRequestBodySize | oshttp.MetricResponseBodySize,
	})
	url, stop, err := serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		defer func() { served <- struct{}{} }()
		handler.ServeHTTP(w, req)
	}))
	if err != nil {
		return err
	}
	defer stop()

	base := &http.Transport{}
	defer base.CloseIdleConnections()
	client := &http.Client{Transport: oshttp.NewTransport(base, &oshttp.TransportOptions{
		Telemetry: p,
		Metrics:   oshttp.MetricDuration | oshttp.MetricActiveRequests,
		Template:  func(req *http.Request) string { return "/{thing}" },
	})}
	for _, path := range []string{"/users/7?verbose=1", "/orders", "/panic", "/slow", "/nowhere"} {
		post(ctx, client, url+path, "hello")
		<-served
	}
	if req, err := http.NewRequestWithContext(ctx, "FROB", url+"/users/7", nil); err == nil {
		if resp, err := client.Do(req); err == nil {
			_ = resp.Body.Close()
		}
		<-served
	}
	post(ctx, client, "http://127.0.0.1:1/nobody", "hello")
	return nil
}
