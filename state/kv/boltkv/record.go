package boltkv

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/go-os/go-os/state/kv/driver"
)

// The file has two buckets. The bucket items has the items by key, and its sequence is the position of the last change. The bucket ends has
// the order in which items expire: keys of time and item key, without values.
//
// An item is stored as its version and its expiry time in Unix nanoseconds (0 for none), both big-endian, and its value.
const (
	stampSize  = 8
	headerSize = 2 * stampSize
)

// The names of the buckets are functions, since Go has no constant slices.
func itemsName() []byte { return []byte("items") }
func endsName() []byte  { return []byte("ends") }

// prepare creates the buckets, and returns the position of the last change.
func prepare(db *bbolt.DB) (last driver.Version, err error) {
	err = db.Update(func(tx *bbolt.Tx) error {
		items, err := tx.CreateBucketIfNotExists(itemsName())
		if err != nil {
			return err
		}
		if items.Sequence() == 0 { // zero is no position
			if err := items.SetSequence(1); err != nil {
				return err
			}
		}
		last = driver.Version(items.Sequence())
		_, err = tx.CreateBucketIfNotExists(endsName())
		return err
	})
	return last, err
}

// record is a stored item. Its value is valid until the transaction ends.
type record struct {
	version driver.Version
	end     int64 // Unix nanoseconds; 0 for none
	value   []byte
}

func decode(data []byte) (record, error) {
	if len(data) < headerSize {
		return record{}, fmt.Errorf("%w: %d bytes", errRecord, len(data))
	}
	return record{
		version: driver.Version(binary.BigEndian.Uint64(data)),
		end:     int64(binary.BigEndian.Uint64(data[stampSize:])),
		value:   data[headerSize:],
	}, nil
}

func (r record) encode() []byte {
	data := make([]byte, headerSize, headerSize+len(r.value))
	binary.BigEndian.PutUint64(data, uint64(r.version))
	binary.BigEndian.PutUint64(data[stampSize:], uint64(r.end))
	return append(data, r.value...)
}

// expired reports whether the record has expired.
func (r record) expired(now time.Time) bool { return r.end != 0 && r.end <= now.UnixNano() }

// item returns a copy that outlives the transaction.
func (r record) item(key string, now time.Time) driver.Item {
	it := driver.Item{Key: key, Value: append([]byte{}, r.value...), Version: r.version}
	if r.end != 0 {
		it.TTL = time.Duration(r.end - now.UnixNano())
	}
	return it
}

// stamp returns the key of an item in the bucket ends. The time is big-endian, so that the first to expire sorts first.
func stamp(end int64, key string) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, stampSize+len(key)), uint64(end)), key...)
}

// read returns the item at key, or driver.ErrNotFound.
func read(tx *bbolt.Tx, key string, now time.Time) (driver.Item, error) {
	data := tx.Bucket(itemsName()).Get([]byte(key))
	if data == nil {
		return driver.Item{}, driver.ErrNotFound
	}
	r, err := decode(data)
	if err != nil {
		return driver.Item{}, err
	}
	if r.expired(now) {
		return driver.Item{}, driver.ErrNotFound
	}
	return r.item(key, now), nil
}

// scan calls yield with each item below prefix whose key is greater than after, in order, until yield returns false.
func scan(tx *bbolt.Tx, prefix, after string, yield func(driver.Item) bool) error {
	now := time.Now()
	c := tx.Bucket(itemsName()).Cursor()
	for key, data := c.Seek([]byte(max(prefix, after))); key != nil && bytes.HasPrefix(key, []byte(prefix)); key, data = c.Next() {
		if after != "" && string(key) == after {
			continue
		}
		r, err := decode(data)
		if err != nil {
			return err
		}
		if !r.expired(now) && !yield(r.item(string(key), now)) {
			return nil
		}
	}
	return nil
}
