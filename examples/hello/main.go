package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"

	"github.com/go-os/go-os/exporters"
	"github.com/go-os/go-os/middleware/oshttp"
)

func main() {
	ctx := context.Background()
	pipeline, err := exporters.Setup(ctx, &exporters.Options{ServiceName: "hello"})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", pipeline.MetricsHandler())
	mux.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "Hello, %s!\n", r.PathValue("name"))
	})
	err = http.ListenAndServe("127.0.0.1:8080", oshttp.NewHandler(mux, nil))
	log.Fatal(errors.Join(err, pipeline.Shutdown(ctx)))
}
