package driver

import (
	"math"
	"math/bits"
	"strings"
	"time"

	"github.com/go-os/go-os/state/internal/leases"
)

// Ability is an optional feature of engines. Abilities combine with |.
type Ability uint32

// The abilities.
const (
	// CAS: conditional writes (IfAbsent, IfVersion) that are atomic.
	CAS Ability = 1 << iota
	// Expiry: items with a TTL, within Capabilities.TTL.
	Expiry
	// List: the items below a prefix, in the order of their keys' bytes. Needs Lister.
	List
	// Watch: changes as they happen. Needs Watcher.
	Watch
	// Batch: several items in one request. Needs Batcher.
	Batch
	// Leases: many items that end together. Needs Leaser.
	Leases
	// Durable: an acknowledged write survives the end of the engine's process, even by kill -9.
	Durable
	// ExactEvents: a watch shows every change, in order. Without it, a watch may skip a state that was soon replaced.
	ExactEvents
	// SnapshotList: all pages of one listing show the same moment.
	SnapshotList
	// FreshReads: a read sees every write that was acknowledged before the read began, by any client. Without it, reads may lag behind
	// the writes of other clients.
	FreshReads

	abilities = iota
)

var abilityNames = [abilities]string{
	"cas", "expiry", "list", "watch", "batch", "leases", "durable", "exact events", "snapshot list",
	"fresh reads",
}

// String names the abilities, separated by commas.
func (a Ability) String() string {
	var names []string
	for i, name := range abilityNames {
		if a&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// Each returns the abilities of the set as a slice.
func (a Ability) Each() []Ability {
	each := make([]Ability, 0, bits.OnesCount32(uint32(a)))
	for i := range abilities {
		if one := Ability(1 << i); a&one != 0 {
			each = append(each, one)
		}
	}
	return each
}

// AllAbilities returns the set of all abilities.
func AllAbilities() Ability { return 1<<abilities - 1 }

// Capabilities describe the features and the limits of an engine.
type Capabilities struct {
	// System is the engine's name in lower case: the value of db.system.name, from the semantic conventions if they have one.
	System string
	// Abilities is the set of the engine's abilities.
	Abilities Ability
	// TTL holds the limits of Expiry, and of Leases.
	TTL TTLLimits
	// MaxKey is the length of the longest key, in bytes. Zero means no limit.
	MaxKey int
	// MaxValue is the length of the longest value, in bytes. Zero means no limit.
	MaxValue int
	// MaxBatch is the maximum number of items in a request of Batcher. Zero means no limit.
	MaxBatch int
}

// TTLLimits describe how an engine treats TTLs.
type TTLLimits struct {
	// Min is the shortest TTL. Shorter ones are refused. Zero means no limit.
	Min time.Duration
	// Max is the longest TTL. Longer ones are refused. Zero means no limit.
	Max time.Duration
	// Granularity is the unit that TTLs are rounded up to. Zero means no rounding.
	Granularity time.Duration
	// Stretch is the factor by which an engine may lengthen a TTL. Zero means one.
	Stretch int
	// MaxLateness is how long after its stretched TTL an item may still be seen, in addition to one Granularity: see Latest. An item never
	// disappears before its TTL ends.
	MaxLateness time.Duration
}

// Latest returns the longest time for which an item with this TTL may be seen after it was written. An engine with a coarse clock may be
// one tick late.
func (l TTLLimits) Latest(ttl time.Duration) time.Duration {
	latest := leases.Limits(l).Latest(ttl)
	if latest > math.MaxInt64-l.Granularity {
		return math.MaxInt64
	}
	return latest + l.Granularity
}

// Has reports whether all of these abilities are declared.
func (c Capabilities) Has(a Ability) bool { return c.Abilities&a == a }
