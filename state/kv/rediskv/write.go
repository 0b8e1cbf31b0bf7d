package rediskv

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/go-os/go-os/state/kv/driver"
	"github.com/go-os/go-os/state/kv/internal/sealed"
)

// The scripts of conditional writes. A script is atomic. It compares the first eight bytes of the item, which are its version; a missing key
// has none. Both scripts return 1, or nil if the condition does not hold.
const (
	putIf = `if redis.call('GETRANGE', KEYS[1], 0, 7) ~= ARGV[1] then return false end
if ARGV[3] then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) else redis.call('SET', KEYS[1], ARGV[2]) end
return 1`
	deleteIf = `if redis.call('GETRANGE', KEYS[1], 0, 7) ~= ARGV[1] then return false end
return redis.call('DEL', KEYS[1])`
)

// put returns the command for a write. Its answer is nil if a condition does not hold.
func (d *Driver) put(req driver.PutRequest, version driver.Version) rueidis.Completed {
	stored := rueidis.BinaryString(sealed.Seal(version, req.Value))
	if req.IfVersion != 0 {
		args := []string{string(sealed.Seal(req.IfVersion, nil)), stored}
		if req.TTL > 0 {
			args = append(args, strconv.FormatInt(int64(req.TTL/time.Millisecond), 10))
		}
		return d.client.B().Eval().Script(putIf).Numkeys(1).Key(req.Key).Arg(args...).Build()
	}
	set := d.client.B().Set().Key(req.Key).Value(stored)
	switch {
	case req.IfAbsent && req.TTL > 0:
		return set.Nx().PxMilliseconds(int64(req.TTL / time.Millisecond)).Build()
	case req.IfAbsent:
		return set.Nx().Build()
	case req.TTL > 0:
		return set.PxMilliseconds(int64(req.TTL / time.Millisecond)).Build()
	default:
		return set.Build()
	}
}

// written returns the outcome of a write: driver.ErrConflict if its condition does not hold.
func (d *Driver) written(ctx context.Context, result rueidis.RedisResult) error {
	err := result.Error()
	if rueidis.IsRedisNil(err) {
		return driver.ErrConflict
	}
	return d.classify(ctx, err)
}
