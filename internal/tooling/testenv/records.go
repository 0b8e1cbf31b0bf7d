package testenv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
)

// prefix is the length of the big-endian byte count before each record.
const prefix = 4

// recordFile reads a file of length-prefixed records while another process appends to it. Each record is read and decoded once, so that a
// waiting test may poll.
type recordFile[T any] struct {
	path   string
	decode func(record []byte) ([]T, error)

	mu     sync.Mutex
	offset int64
	items  []T
}

// all returns the content of every complete record so far. It leaves a torn last record for later: its writer may be about to finish it.
func (f *recordFile[T]) all() ([]T, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // created with the first record
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if _, err := file.Seek(f.offset, io.SeekStart); err != nil {
		return nil, err
	}
	rest, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	records, used := split(rest)
	for _, record := range records {
		items, err := f.decode(record)
		if err != nil {
			return nil, fmt.Errorf("%s: a record of %d bytes: %w", f.path, len(record), err)
		}
		f.items = append(f.items, items...)
	}
	f.offset += int64(used)
	return slices.Clip(f.items), nil
}

// split cuts data into complete records, and returns how many bytes they take. The remainder is an incomplete record.
func split(data []byte) (records [][]byte, used int) {
	for {
		rest := data[used:]
		if len(rest) < prefix {
			return records, used
		}
		size := int(binary.BigEndian.Uint32(rest))
		if len(rest)-prefix < size {
			return records, used
		}
		records = append(records, rest[prefix:prefix+size])
		used += prefix + size
	}
}

// trimTorn cuts off an incomplete last record. Data appended after it would look like its missing part.
func trimTorn(path string) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, used := split(data)
	return os.Truncate(path, int64(used))
}
