package placement

import "github.com/cespare/xxhash/v2"

// The seeds of the hashes. They differ, so that the arm of a key, its place on the hash ring and the subset of a client are independent: with
// one seed, all keys of an arm could meet the same few instances.
const (
	splitSeed uint64 = 0x676f6f732e73706c // "goos.spl"
	orderSeed uint64 = 0x676f6f732e6f7264 // "goos.ord"
	keySeed   uint64 = 0x676f6f732e6b6579 // "goos.key"
	setSeed   uint64 = 0x676f6f732e736574 // "goos.set"
)

// KeyHash returns the hash of a key for a balancer that hashes, such as consistent hashing. It is independent of splits and subsets.
func KeyHash(key string) uint64 { return hash(keySeed, key) }

// hash returns the seeded xxHash64 of text, without allocating.
func hash(seed uint64, text string) uint64 {
	var d xxhash.Digest
	d.ResetWithSeed(seed)
	_, _ = d.WriteString(text) // never fails
	return d.Sum64()
}
