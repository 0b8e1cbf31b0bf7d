package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"

	"github.com/go-os/go-os/control/discovery"
)

func newHandler(resolver *discovery.Resolver, ready http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /readyz", ready)
	mux.HandleFunc("GET /products/{id}", func(w http.ResponseWriter, r *http.Request) {
		price, err := price(r.Context(), resolver, r.PathValue("id"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, "%s costs %s\n", r.PathValue("id"), price)
	})
	return mux
}

var errNoInstance = errors.New("no instance of prices takes requests")

// price asks the instances of prices, in random order, until one of them answers.
func price(ctx context.Context, resolver *discovery.Resolver, product string) (price string, err error) {
	view, err := resolver.View(ctx, "prices", discovery.Available)
	if err != nil {
		return "", err
	}
	instances := view.Snapshot().Instances
	err = errNoInstance
	for _, n := range rand.Perm(len(instances)) {
		instance := &instances[n]
		price, err = ask(ctx, instance.Addresses["http"], product)
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		resolver.Report("prices", instance.ID, err == nil)
		if err == nil {
			return price, nil
		}
	}
	return "", err
}

// ask returns an error if the instance did not answer.
func ask(ctx context.Context, address, product string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/prices/"+product, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}
