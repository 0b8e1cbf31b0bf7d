package config

import (
	"strconv"
	"strings"

	"github.com/go-os/go-os/control/config/internal/document"
)

// Size is a number of bytes, written as "512B", "64KiB", "1.5MB" or a plain number. KB, MB, GB and TB are powers of 1000; KiB, MiB, GiB and TiB
// are powers of 1024 (IEC 80000-13).
type Size uint64

// The units of Size.
const (
	Byte Size = 1
	KB        = 1000 * Byte
	MB        = 1000 * KB
	GB        = 1000 * MB
	TB        = 1000 * GB
	KiB       = 1024 * Byte
	MiB       = 1024 * KiB
	GiB       = 1024 * MiB
	TiB       = 1024 * GiB
)

var sizeUnits = []struct {
	name string
	unit Size
}{
	{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}, {"TB", TB}, {"GB", GB}, {"MB", MB}, {"KB", KB}, {"kB", KB}, {"B", Byte}, {"", Byte},
}

// UnmarshalText parses a size. Units are case-sensitive, as in the standard.
func (s *Size) UnmarshalText(text []byte) error {
	t := strings.TrimSpace(string(text))
	for _, u := range sizeUnits {
		number, ok := strings.CutSuffix(t, u.name)
		if !ok {
			continue
		}
		size, err := document.ParseSize(strings.TrimSpace(number), uint64(u.unit))
		if err != nil {
			return err
		}
		*s = Size(size)
		return nil
	}
	return document.ErrSize
}

// String returns the size in the largest unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if u.name != "" && s != 0 && s%u.unit == 0 {
			return strconv.FormatUint(uint64(s/u.unit), 10) + u.name
		}
	}
	return "0B"
}

// MarshalText returns the text of String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
