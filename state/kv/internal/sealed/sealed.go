// Package sealed stores an item's version in front of its value, for engines without versions of their own, or whose versions do not
// outlive the item.
//
// Versions are random, so the engine need not count. A key does not start over at version one after it was deleted or has expired, or
// after its server lost its data. With 63 random bits, a key must be written three billion times before the probability that two of its
// versions are equal is one half.
package sealed

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/go-os/go-os/state/kv/driver"
)

// Overhead is the number of bytes that Seal adds to a value.
const Overhead = 8

// NewVersion returns a random version.
func NewVersion() driver.Version { return driver.Version(rand.Int64N(1<<63-1) + 1) }

// Seal returns the bytes to store. It copies the value.
func Seal(version driver.Version, value []byte) []byte {
	stored := make([]byte, 0, Overhead+len(value))
	return append(binary.BigEndian.AppendUint64(stored, uint64(version)), value...)
}

// Open returns the version and the value of stored bytes. The value shares their memory. Bytes that are too short are an error, since
// another program wrote them.
func Open(stored []byte) (version driver.Version, value []byte, err error) {
	if len(stored) < Overhead {
		return 0, nil, fmt.Errorf("the stored value of %d bytes has no version: it was not written by this driver: keep the keys of other programs apart", len(stored))
	}
	return driver.Version(binary.BigEndian.Uint64(stored)), stored[Overhead:], nil
}
