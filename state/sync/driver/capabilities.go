package driver

import (
	"fmt"
	"time"

	"github.com/go-os/go-os/state/internal/leases"
)

// Safety is what the promise of an engine rests on: that no two claims hold one seat, and that tokens grow. A greater one is safer
// between processes.
type Safety uint8

// The classes.
const (
	// Local holds within one process: it shuts out nobody else.
	Local Safety = iota + 1
	// BestEffort holds as long as the engine runs on one machine and keeps its data. A restart without them, or a fail-over to a replica
	// that lags behind, may give a seat twice and repeat tokens.
	BestEffort
	// SessionBound holds across crashes and restarts of the engine, but not across a fail-over to a replica that lags behind.
	SessionBound
	// Linearizable holds whatever crashes: a majority agrees on every step.
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

// Capabilities are what an engine can do, and within which limits.
type Capabilities struct {
	// System is the engine's name: lower case, as in db.system.name.
	System string
	// Safety is what the engine's promise rests on.
	Safety Safety
	// Ordered says that claims are granted in the order in which the engine received them.
	Ordered bool
	// Lease holds the limits of leases.
	Lease LeaseLimits
	// MaxName is the length of the longest name of a queue, in bytes.
	MaxName int
	// MaxValue is the length of the longest value of a claim, in bytes.
	MaxValue int
}

// LeaseLimits say how an engine treats time.
type LeaseLimits struct {
	// Min is the shortest TTL; shorter ones are refused. Zero means no limit.
	Min time.Duration
	// Max is the longest TTL; longer ones are refused. Zero means no limit.
	Max time.Duration
	// Granularity is what TTLs are rounded up to a multiple of. Zero means none.
	Granularity time.Duration
	// Stretch is by how much an engine may lengthen a TTL. Zero means one.
	Stretch int
	// MaxLateness is how long after its time, stretched, the seats of a lease may still be taken.
	MaxLateness time.Duration
}

// Latest returns how long after a holder's last renewal its seats are free, at most, while the engine runs.
func (l LeaseLimits) Latest(ttl time.Duration) time.Duration { return leases.Limits(l).Latest(ttl) }
