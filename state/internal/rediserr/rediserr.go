// Package rediserr classifies the errors of Redis and of its client, for all drivers on Redis.
package rediserr

import (
	"strings"

	"github.com/redis/rueidis"

	"github.com/go-os/go-os/internal/fault"
)

// Class returns the class of an error: fault.NotFound, fault.Denied, nil for another refusal that a retry cannot fix (such as WRONGTYPE),
// or else fault.Unavailable.
func Class(err error) error {
	if rueidis.IsRedisNil(err) {
		return fault.NotFound
	}
	refused, ok := rueidis.IsRedisErr(err)
	if !ok {
		return fault.Unavailable
	}
	word, _, _ := strings.Cut(refused.Error(), " ")
	switch word {
	case "NOPERM", "NOAUTH", "WRONGPASS":
		return fault.Denied
	case "LOADING", "BUSY", "OOM", "MISCONF", "READONLY", "MASTERDOWN", "NOREPLICAS", "CLUSTERDOWN", "TRYAGAIN", "UNBLOCKED":
		return fault.Unavailable // about the state of the server, not about the command
	}
	return nil
}
