package config

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// Size is a number of bytes, written "512B", "64KiB", "1.5MB" or as a plain number of bytes. KB, MB, GB and TB are powers
// of 1000, KiB, MiB, GiB and TiB powers of 1024 (IEC 80000-13).
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

// UnmarshalText reads a size. Units are case-sensitive, as in the standard: an error names those that there are.
func (s *Size) UnmarshalText(text []byte) error {
	t := strings.TrimSpace(string(text))
	for _, u := range sizeUnits {
		number, ok := strings.CutSuffix(t, u.name)
		if !ok {
			continue
		}
		size, err := parseSize(strings.TrimSpace(number), u.unit)
		if err != nil {
			return err
		}
		*s = size
		return nil
	}
	return errSize
}

var (
	errSize        = errors.New("is no size: write a number and B, KB, MB, GB, TB, KiB, MiB, GiB or TiB, such as 64KiB")
	errPartOfByte  = errors.New("is not a whole number of bytes")
	errLargestSize = fmt.Errorf("is over the largest size, %d bytes", uint64(math.MaxUint64))
)

// parseSize multiplies without rounding.
func parseSize(number string, unit Size) (Size, error) {
	const places = 40 // a fraction with more of them is no whole number of the largest unit
	l, ok := readLiteral(number)
	switch {
	case !ok, l.base != 10, l.negative, strings.Contains(number, "_"):
		return 0, errSize
	case l.ambiguous():
		return 0, errOctal
	case l.digits == "":
		return 0, nil
	case l.exponent < -places:
		return 0, errPartOfByte
	case len(l.digits)+l.exponent > places:
		return 0, errLargestSize
	}
	digits, _ := new(big.Int).SetString(l.digits, 10)
	power := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(l.exponent, -l.exponent))), nil)
	bytes := digits.Mul(digits, new(big.Int).SetUint64(uint64(unit)))
	rest := new(big.Int)
	if l.exponent >= 0 {
		bytes.Mul(bytes, power)
	} else {
		bytes.QuoRem(bytes, power, rest)
	}
	switch {
	case rest.Sign() != 0:
		return 0, errPartOfByte
	case !bytes.IsUint64():
		return 0, errLargestSize
	}
	return Size(bytes.Uint64()), nil
}

// String writes the size in the largest unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if u.name != "" && s != 0 && s%u.unit == 0 {
			return strconv.FormatUint(uint64(s/u.unit), 10) + u.name
		}
	}
	return "0B"
}

// MarshalText writes the size as String does.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
