package main

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/middleware/oshttp"
)

// newClient returns a client to which prices is the name of a service.
func newClient(resolver *discovery.Resolver) (*http.Client, error) {
	services, err := oshttp.NewServices(resolver, &oshttp.ServicesOptions{Names: []string{"prices"}})
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: oshttp.NewTransport(services, nil)}, nil
}

func newHandler(client *http.Client, ready http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /readyz", ready)
	mux.HandleFunc("GET /products/{id}", func(w http.ResponseWriter, r *http.Request) {
		price, err := price(r.Context(), client, r.PathValue("id"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, "%s costs %s\n", r.PathValue("id"), price)
	})
	return oshttp.NewHandler(mux, &oshttp.HandlerOptions{Services: []string{"storefront"}})
}

// price queries an instance of the service prices.
func price(ctx context.Context, client *http.Client, product string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://prices/prices/"+product, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}
