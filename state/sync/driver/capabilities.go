package driver

import (
	"fmt"
	"time"

	"github.com/go-os/go-os/state/internal/leases"
)

// Safety is the class of an engine's promise that no two claims hold one seat, and that tokens increase. A greater class holds under more
// faults.
type Safety uint8

// The classes of safety.
const (
	// Local: the promise holds within one process. Other processes are not excluded.
	Local Safety = iota + 1
	// BestEffort: the promise holds as long as the engine runs on one machine and keeps its data. A restart without the data, or a
	// fail-over to a lagging replica, may grant a seat twice and repeat tokens.
	BestEffort
	// SessionBound: the promise holds across crashes and restarts of the engine, but not across a fail-over to a lagging replica.
	SessionBound
	// Linearizable: the promise holds across all crashes, since a majority agrees on every step.
	Linearizable
)

// String names the class.
func (s Safety) String() string {
	switch s {
	case Local:
		return "local"
	case BestEffort:
		return "best-effort"
	case SessionBound:
		return "session-bound"
	case Linearizable:
		return "linearizable"
	default:
		return fmt.Sprintf("safety(%d)", uint8(s))
	}
}

// Capabilities describe the features and the limits of an engine.
type Capabilities struct {
	// System is the engine's name in lower case, as in db.system.name.
	System string
	// Safety is the class of the engine's promise.
	Safety Safety
	// Ordered means that claims are granted in the order in which the engine received them.
	Ordered bool
	// Lease holds the limits of leases.
	Lease LeaseLimits
	// MaxName is the length of the longest name of a queue, in bytes.
	MaxName int
	// MaxValue is the length of the longest value of a claim, in bytes.
	MaxValue int
}

// LeaseLimits describe how an engine treats the TTLs of leases.
type LeaseLimits struct {
	// Min is the shortest TTL. Shorter ones are refused. Zero means no limit.
	Min time.Duration
	// Max is the longest TTL. Longer ones are refused. Zero means no limit.
	Max time.Duration
	// Granularity is the unit that TTLs are rounded up to. Zero means no rounding.
	Granularity time.Duration
	// Stretch is the factor by which an engine may lengthen a TTL. Zero means one.
	Stretch int
	// MaxLateness is how long after its stretched TTL the seats of a lease may still be taken.
	MaxLateness time.Duration
}

// Latest returns the longest time from a holder's last renewal until its seats are free, while the engine runs.
func (l LeaseLimits) Latest(ttl time.Duration) time.Duration { return leases.Limits(l).Latest(ttl) }
