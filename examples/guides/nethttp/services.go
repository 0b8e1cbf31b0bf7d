package main

import (
	"fmt"
	"net/http"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/middleware/oshttp"
)

// client returns a client that finds the service payments by its name.
func client(resolver *discovery.Resolver) (*http.Client, error) {
	services, err := oshttp.NewServices(resolver, &oshttp.ServicesOptions{Names: []string{"payments"}})
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: oshttp.NewTransport(services, nil)}
	return client, nil
}

// handler returns the handler of payments.
func handler(mux http.Handler) http.Handler {
	return oshttp.NewHandler(mux, &oshttp.HandlerOptions{Services: []string{"payments"}})
}

// pay charges a card.
func pay(client *http.Client, order string) (string, error) {
	response, err := client.Post("http://payments/charges/"+order, "application/json", nil)
	if err != nil {
		return "", fmt.Errorf("pay: %w", err)
	}
	return response.Status, response.Body.Close()
}
