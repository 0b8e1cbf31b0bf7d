// Package etcderr classifies the errors of etcd's client, for all drivers on etcd.
package etcderr

import (
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/go-os/go-os/internal/fault"
)

// Class returns the class of an error: fault.Denied, fault.NotFound (of a lease), fault.TooLarge, or else fault.Unavailable.
func Class(err error) error {
	switch {
	case errors.Is(err, rpctypes.ErrPermissionDenied), errors.Is(err, rpctypes.ErrUserEmpty), errors.Is(err, rpctypes.ErrAuthFailed):
		return fault.Denied
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return fault.NotFound
	case errors.Is(err, rpctypes.ErrRequestTooLarge), status.Code(err) == codes.ResourceExhausted && !errors.Is(err, rpctypes.ErrNoSpace):
		return fault.TooLarge
	}
	return fault.Unavailable
}
