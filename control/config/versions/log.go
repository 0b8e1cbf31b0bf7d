package versions

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/state/kv"
)

// The keys of a layer.
const (
	headKey        = "head"
	versionPrefix  = "v/"
	rolloutPrefix  = "rollouts/"
	instancePrefix = "instances/"
	progressKey    = "guide"
)

// Version is a document that was published. It never changes.
type Version struct {
	// Number of the version in its layer, from 1. Numbers may be missing after interrupted publications.
	Number int `json:"number"`
	// Parent is the number of the version that was in force before, or 0.
	Parent int `json:"parent"`
	// Restored is the number of the version that a rollback has restored, or 0.
	Restored int `json:"restored,omitempty"`
	// Author and Message are copied from the Draft or the call of Rollback.
	Author  string `json:"author"`
	Message string `json:"message,omitempty"`
	// Time of the publication, by the clock of the publisher.
	Time time.Time `json:"time"`
	// Format and Document are copied from the Draft.
	Format   string `json:"format"`
	Document string `json:"document"`
	// SHA256 of the document, in hexadecimal digits.
	SHA256 string `json:"sha256"`
}

// Head is the version in force.
type Head struct {
	// Stable is the version that all instances take, but for the canaries of a rollout, or 0 if there is none yet.
	Stable int `json:"stable"`
	// Rollout is the current rollout, or nil.
	Rollout *Rollout `json:"rollout,omitempty"`
	// Ended is the record of the last rollout, until the next publication, or nil.
	Ended *Rollout `json:"ended,omitempty"`
}

// Rollout is the gradual release of a candidate, with its steps so far.
type Rollout struct {
	// Candidate is the number of the version that the canaries take.
	Candidate int `json:"candidate"`
	// Percent is the percentage of the instances that take it, above 0 and below 100.
	Percent float64 `json:"percent"`
	// Steps so far, the latest last.
	Steps []Step `json:"steps"`
}

// Step is one change of a rollout.
type Step struct {
	// Action is start, advance, promote or abort.
	Action string `json:"action"`
	// Percent is the percentage of the instances after the step.
	Percent float64 `json:"percent"`
	// Author and Reason are the arguments of the call.
	Author string `json:"author"`
	Reason string `json:"reason,omitempty"`
	// Time of the step, by the clock of the caller.
	Time time.Time `json:"time"`
}

// For returns the version that an instance takes: the candidate if its name falls into the percentage, or else the stable version. An
// instance without a name takes the stable version. Each instance has one of 10,000 positions, by the SHA-256 of the number of the
// candidate and its name. A growing percentage therefore never takes the candidate from an instance.
func (h Head) For(instance string) int {
	if h.Rollout == nil || instance == "" || !h.Rollout.takes(instance) {
		return h.Stable
	}
	return h.Rollout.Candidate
}

// positions is the resolution of percentages.
const positions = 10_000

func (r *Rollout) takes(instance string) bool {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d/%s", r.Candidate, instance))
	position := binary.BigEndian.Uint64(sum[:]) % positions
	return float64(position) < r.Percent*positions/100
}

// versionLog is a layer in a store: versions that never change, and a head that moves by compare-and-set. It does not use the history of
// the engine, since engines discard theirs.
type versionLog struct {
	store *kv.Store
}

func versionKeyOf(number int) string { return fmt.Sprintf("%s%010d", versionPrefix, number) }

// head returns the head, and its version in the store for compare-and-set.
func (l *versionLog) head(ctx context.Context) (h Head, at kv.Version, err error) {
	found, err := l.store.Get(ctx, headKey)
	if err != nil {
		return h, at, storeError(err)
	}
	if err := json.Unmarshal(found.Value, &h); err != nil {
		return h, at, fmt.Errorf("%w: the head is damaged: it was not written by package versions", config.ErrInvalid)
	}
	return h, found.Version, nil
}

// move replaces the head if it has not changed. at is 0 if there was no head.
func (l *versionLog) move(ctx context.Context, to Head, at kv.Version) error {
	value, err := json.Marshal(to)
	if err != nil {
		return err
	}
	condition := kv.PutOption(kv.IfAbsent())
	if at != 0 {
		condition = kv.IfVersion(at)
	}
	_, err = l.store.Put(ctx, headKey, value, condition)
	if err == nil {
		return nil
	}
	now, _, reading := l.head(ctx)
	switch {
	case errors.Is(err, kv.ErrUnavailable) && reading == nil && sameHead(now, to):
		return nil // the write succeeded, but its answer was lost
	case !errors.Is(err, kv.ErrConflict):
		return storeError(err)
	}
	if reading == nil && sameHead(now, to) {
		return nil // an earlier attempt of this call succeeded
	}
	return conflict(now)
}

func sameHead(a, b Head) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return slices.Equal(x, y)
}

func conflict(now Head) error {
	if now.Rollout != nil {
		return fmt.Errorf("%w: version %d is being rolled out: promote or abort it first", config.ErrConflict, now.Rollout.Candidate)
	}
	if now.Stable == 0 {
		return fmt.Errorf("%w: nothing was published yet, so the draft has no parent", config.ErrConflict)
	}
	return fmt.Errorf("%w: version %d was published meanwhile", config.ErrConflict, now.Stable)
}

// get returns a version.
func (l *versionLog) get(ctx context.Context, number int) (v Version, err error) {
	found, err := l.store.Get(ctx, versionKeyOf(number))
	if err != nil {
		return v, fmt.Errorf("version %d: %w", number, storeError(err))
	}
	return readVersion(number, found.Value)
}

// page returns versions from a number downwards, and the number of the next page, or 0. It skips numbers without a version. After an error
// about one version it also returns the versions above that one.
func (l *versionLog) page(ctx context.Context, from int) (page []Version, next int, err error) {
	const size = 16
	if from <= 0 {
		return nil, 0, nil
	}
	next = max(0, from-size)
	var keys []string
	for n := from; n > next; n-- {
		keys = append(keys, versionKeyOf(n))
	}
	results, err := l.store.GetMany(ctx, keys)
	if results == nil {
		return nil, 0, storeError(err)
	}
	for i, r := range results {
		one, err := readResult(from-i, r)
		switch {
		case err == nil:
			page = append(page, one)
		case !errors.Is(err, config.ErrNotFound):
			return page, 0, err
		}
	}
	return page, next, nil
}

func readResult(number int, r kv.Result) (Version, error) {
	if r.Err != nil {
		return Version{}, storeError(r.Err)
	}
	return readVersion(number, r.Item.Value)
}

func readVersion(number int, value []byte) (v Version, err error) {
	if err := json.Unmarshal(value, &v); err != nil {
		return v, fmt.Errorf("%w: version %d is damaged: it was not written by package versions", config.ErrInvalid, number)
	}
	if v.Number != number || v.SHA256 != digest(v.Document) {
		return v, fmt.Errorf("%w: version %d is damaged: the hash of its document is wrong", config.ErrInvalid, number)
	}
	return v, nil
}

func digest(document string) string {
	sum := sha256.Sum256([]byte(document))
	return hex.EncodeToString(sum[:])
}

// add writes a version under the first free number from v.Number on. Interrupted publications may have taken numbers above the head.
func (l *versionLog) add(ctx context.Context, v Version) (Version, error) {
	const most = 1000
	for range most {
		value, err := json.Marshal(v)
		if err != nil {
			return v, err
		}
		_, err = l.store.Put(ctx, versionKeyOf(v.Number), value, kv.IfAbsent())
		if err == nil {
			return v, nil
		}
		if !errors.Is(err, kv.ErrConflict) {
			return v, storeError(err)
		}
		v.Number++
	}
	return v, fmt.Errorf("%w: no number is free from %d to %d", config.ErrConflict, v.Number-most, v.Number)
}
