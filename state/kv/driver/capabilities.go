package driver

import (
	"math/bits"
	"strings"
	"time"
)

// Ability is something that engines may or may not be able to do. Abilities combine with |.
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
	// Leases: many items that live and die together. Needs Leaser.
	Leases
	// Durable: an acknowledged write survives the end of the engine's process, by kill -9 too.
	Durable
	// ExactEvents: a watch shows every change, in order. Without it, a watch may skip a state that was soon replaced.
	ExactEvents
	// SnapshotList: all pages of one listing show the same moment.
	SnapshotList
	// FreshReads: a read sees every write that was acknowledged before the read began, whichever client wrote. Without it, reads
	// may lag behind the writes of others.
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

// Each returns the abilities of the set one by one.
func (a Ability) Each() []Ability {
	each := make([]Ability, 0, bits.OnesCount32(uint32(a)))
	for i := range abilities {
		if one := Ability(1 << i); a&one != 0 {
			each = append(each, one)
		}
	}
	return each
}

// AllAbilities returns every ability there is.
func AllAbilities() Ability { return 1<<abilities - 1 }

// Capabilities are what an engine can do, and within which limits.
type Capabilities struct {
	// System is the engine's name, the value of db.system.name: lower case, the semantic conventions' own where there is one.
	System string
	// Abilities is the set of what the engine can do.
	Abilities Ability
	// TTL holds the limits of Expiry, and of Leases.
	TTL TTLLimits
	// MaxKey is the length of the longest key, in bytes. Zero means no limit.
	MaxKey int
	// MaxValue is the length of the longest value, in bytes. Zero means no limit.
	MaxValue int
	// MaxBatch is how many items a request of Batcher may hold. Zero means no limit.
	MaxBatch int
}

// TTLLimits say how an engine treats time.
type TTLLimits struct {
	// Min is the shortest TTL; shorter ones are refused. Zero means no limit.
	Min time.Duration
	// Max is the longest TTL; longer ones are refused. Zero means no limit.
	Max time.Duration
	// Granularity is what TTLs are rounded up to a multiple of. Zero means none.
	Granularity time.Duration
	// Stretch is by how much an engine may lengthen a TTL: an item may be seen for that many times its TTL. Zero means one.
	Stretch int
	// MaxLateness is how long after its time, stretched, an item may still be seen. An item is never gone before its time.
	MaxLateness time.Duration
}

// Latest is how long after it was written an item with this TTL may still be seen.
func (l TTLLimits) Latest(ttl time.Duration) time.Duration {
	return time.Duration(max(l.Stretch, 1))*ttl + l.Granularity + l.MaxLateness
}

// Has reports whether all of these abilities are declared.
func (c Capabilities) Has(a Ability) bool { return c.Abilities&a == a }
