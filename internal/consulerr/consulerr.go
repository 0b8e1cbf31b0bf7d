// Package consulerr classifies the errors of Consul's client, for all drivers on Consul.
package consulerr

import (
	"errors"
	"net/http"

	"github.com/hashicorp/consul/api"

	"github.com/go-os/go-os/internal/fault"
)

// Class returns the class of an error: fault.TooLarge, fault.Denied, nil for another refusal that a retry cannot fix, or else
// fault.Unavailable.
func Class(err error) error {
	var status api.StatusError
	if !errors.As(err, &status) || status.Code >= http.StatusInternalServerError {
		return fault.Unavailable
	}
	switch status.Code {
	case http.StatusRequestEntityTooLarge:
		return fault.TooLarge
	case http.StatusUnauthorized, http.StatusForbidden:
		return fault.Denied
	case http.StatusTooManyRequests, http.StatusRequestTimeout, http.StatusNotFound: // Consul itself never answers 404 on a path that it serves
		return fault.Unavailable
	}
	return nil
}
