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
	// Number counts the versions of a layer from 1. Numbers of interrupted publications may be missing.
	Number int `json:"number"`
	// Parent is the number of the version that was in force for all, or 0.
	Parent int `json:"parent"`
	// Restored is the version whose document this one has again, if it is a rollback.
	Restored int `json:"restored,omitempty"`
	// Author and Message say who published it and why.
	Author  string `json:"author"`
	Message string `json:"message,omitempty"`
	// Time of the publication, by the publisher's clock.
	Time time.Time `json:"time"`
	// Format and Document are what was published.
	Format   string `json:"format"`
	Document string `json:"document"`
	// SHA256 of the document, in hexadecimal digits.
	SHA256 string `json:"sha256"`
}

// Head says which version is in force.
type Head struct {
	// Stable is the version that all instances take, or 0: none yet.
	Stable int `json:"stable"`
	// Rollout is under way, or nil.
	Rollout *Rollout `json:"rollout,omitempty"`
	// Ended is the record of the last rollout, until the next publication.
	Ended *Rollout `json:"ended,omitempty"`
}

// Rollout is a candidate on its way to all instances, with the steps so far.
type Rollout struct {
	// Candidate is the version that some instances take.
	Candidate int `json:"candidate"`
	// Percent of the instances take it.
	Percent float64 `json:"percent"`
	// Steps that were taken, the latest last.
	Steps []Step `json:"steps"`
}

// Step is one change of a rollout.
type Step struct {
	// Action is start, advance, promote or abort.
	Action string `json:"action"`
	// Percent of the instances from then on.
	Percent float64 `json:"percent"`
	// Author and Reason say who took the step and why.
	Author string `json:"author"`
	Reason string `json:"reason,omitempty"`
	// Time of the step.
	Time time.Time `json:"time"`
}

// For returns the version that an instance takes: the candidate, if its name falls into the percentage, else the stable one. An
// instance without a name takes the stable one. A percentage that grows takes the candidate from no instance: each has a place of
// its own among 10,000, by the SHA-256 of the candidate's number and its name.
func (h Head) For(instance string) int {
	if h.Rollout == nil || instance == "" || !h.Rollout.takes(instance) {
		return h.Stable
	}
	return h.Rollout.Candidate
}

// places is how fine percentages are.
const places = 10_000

func (r *Rollout) takes(instance string) bool {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d/%s", r.Candidate, instance))
	place := binary.BigEndian.Uint64(sum[:]) % places
	return float64(place) < r.Percent*places/100
}

// versionLog is a layer in a store: versions that never change, and a head that moves by compare-and-set. No history of the
// engine is used, since engines forget theirs.
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
		return h, at, fmt.Errorf("%w: the head is not what package versions writes", config.ErrInvalid)
	}
	return h, found.Version, nil
}

// move replaces the head if it is still what it was. A head that was not there has no version.
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
		return nil // it was written before the answer was lost
	case !errors.Is(err, kv.ErrConflict):
		return storeError(err)
	}
	if reading == nil && sameHead(now, to) {
		return nil // by a retry of the same call
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
		return fmt.Errorf("%w: a rollout of version %d is under way: promote or abort it first", config.ErrConflict, now.Rollout.Candidate)
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

// page returns versions from a number downwards, and the number of the next page, or 0. Numbers without a version are left out. An error
// comes with the versions above the one that it is about.
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
		return v, fmt.Errorf("%w: version %d is not what package versions writes", config.ErrInvalid, number)
	}
	if v.Number != number || v.SHA256 != digest(v.Document) {
		return v, fmt.Errorf("%w: version %d is damaged: its document has another hash", config.ErrInvalid, number)
	}
	return v, nil
}

func digest(document string) string {
	sum := sha256.Sum256([]byte(document))
	return hex.EncodeToString(sum[:])
}

// add writes a version under the first number that is free, from v.Number on. Interrupted publications
// may have taken numbers after the head.
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
