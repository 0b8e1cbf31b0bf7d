package document

import (
	"fmt"
	"math"
	"math/big"
	"strings"
)

// ErrSize is the error for a text that is not a size. The errors of ParseSize are shown as they are.
var ErrSize = sizeError("is not a size: write a number and B, KB, MB, GB, TB, KiB, MiB, GiB or TiB, such as 64KiB")

var (
	errPartOfByte  = sizeError("is not a whole number of bytes")
	errLargestSize = sizeError(fmt.Sprintf("is over the largest size, %d bytes", uint64(math.MaxUint64)))
)

// sizeError returns an error that textFrom shows as it is.
func sizeError(why string) error { return &valueError{why: why} }

// ParseSize returns a number times a unit, or an error if the result would be rounded.
func ParseSize(number string, unit uint64) (uint64, error) {
	const places = 40 // a longer fraction is not a whole number of bytes in any unit
	l, ok := readLiteral(number)
	switch {
	case !ok, l.base != 10, l.negative, strings.Contains(number, "_"):
		return 0, ErrSize
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
	bytes := digits.Mul(digits, new(big.Int).SetUint64(unit))
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
	return bytes.Uint64(), nil
}
