// Package sealed keeps an item's version in front of its value, for engines that have no versions of their own, or none that
// outlive the item.
//
// The versions are random: an engine need not count, and a key whose history was forgotten (it was deleted, has expired, or
// its server came back empty) does not begin again at one. Of 63 random bits a key would have to be written three billion times
// before two of its versions were equal as likely as not.
package sealed

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/go-os/go-os/state/kv/driver"
)

// Overhead is how many bytes a sealed value is longer than the value.
const Overhead = 8

// NewVersion returns a version that no item has had.
func NewVersion() driver.Version { return driver.Version(rand.Int64N(1<<63-1) + 1) }

// Seal returns what to store. The value is copied.
func Seal(version driver.Version, value []byte) []byte {
	stored := make([]byte, 0, Overhead+len(value))
	return append(binary.BigEndian.AppendUint64(stored, uint64(version)), value...)
}

// Open returns what was sealed; the value is a part of stored. What is no sealed value is an error, since someone else wrote it.
func Open(stored []byte) (version driver.Version, value []byte, err error) {
	if len(stored) < Overhead {
		return 0, nil, fmt.Errorf("the stored value of %d bytes has no version: it was not written by this driver: keep the keys of other programs apart", len(stored))
	}
	return driver.Version(binary.BigEndian.Uint64(stored)), stored[Overhead:], nil
}
