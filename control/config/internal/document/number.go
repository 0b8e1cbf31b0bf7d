package document

import (
	"encoding/json"
	"errors"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// number is a number in its written form, such as 1.10, 0x1F, 1_000 or .inf. The type of its field decides what it means, so that nothing is
// rounded on the way.
type number string

// jsonNumber is the grammar of RFC 8259, section 6.
var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// MarshalJSON writes the number as a JSON number, or as a string if JSON has no such number.
func (n number) MarshalJSON() ([]byte, error) {
	if jsonNumber.MatchString(string(n)) {
		return []byte(n), nil
	}
	l, ok := readLiteral(string(n))
	if i, whole := l.integer(); ok && whole == nil {
		return []byte(i.String()), nil
	}
	if ok && l.base == 10 && !l.ambiguous() {
		return []byte(l.decimal()), nil
	}
	return json.Marshal(string(n))
}

// literal is a parsed number. Its value is digits × 10^exponent; the exponent is 0 in all bases but 10.
type literal struct {
	negative bool
	base     int    // 2, 8, 10, 16, or 0 if it is not finite
	digits   string // without leading zeros, and for base 10 without trailing ones; empty is zero
	exponent int
	special  float64 // if base is 0: infinity, or not a number
	leading  bool    // a whole number that begins with a superfluous 0
	whole    bool    // written without a fraction and an exponent
}

var bases = map[string]int{"0x": 16, "0o": 8, "0b": 2}

// decimalForm is sign, digits, fraction and exponent.
var decimalForm = regexp.MustCompile(`^([0-9]*)(?:\.([0-9]*))?(?:e([+-]?[0-9]+))?$`)

// readLiteral parses a number: decimal, with the prefix 0x, 0o or 0b, or .inf, inf, .nan or nan. Underscores may separate digits.
func readLiteral(s string) (l literal, ok bool) {
	s = strings.ToLower(s)
	if s != "" && (s[0] == '+' || s[0] == '-') {
		l.negative, s = s[0] == '-', s[1:]
	}
	switch strings.TrimPrefix(s, ".") {
	case "inf":
		l.special = math.Inf(1)
		if l.negative {
			l.special = math.Inf(-1)
		}
		return l, true
	case "nan":
		l.special = math.NaN()
		return l, true
	}
	if s == "" || s[0] == '_' || s[len(s)-1] == '_' {
		return l, false
	}
	s = strings.ReplaceAll(s, "_", "")
	if base := bases[s[:min(2, len(s))]]; base != 0 {
		l.base, l.digits, l.whole = base, strings.TrimLeft(s[2:], "0"), true
		return l, len(s) > 2 && strings.Trim(s[2:], "0123456789abcdef"[:base]) == ""
	}
	return l.readDecimal(s)
}

func (l literal) readDecimal(s string) (literal, bool) {
	m := decimalForm.FindStringSubmatch(s)
	if m == nil || m[1]+m[2] == "" {
		return l, false
	}
	l.base, l.whole = 10, !strings.ContainsAny(s, ".e")
	l.leading = l.whole && len(s) > 1 && s[0] == '0'
	if m[3] != "" {
		exponent, err := strconv.Atoi(m[3])
		if err != nil { // out of every range
			exponent = math.MaxInt32
			if m[3][0] == '-' {
				exponent = math.MinInt32
			}
		}
		l.exponent = exponent
	}
	l.exponent -= len(m[2])
	digits := strings.TrimLeft(m[1]+m[2], "0")
	l.digits = strings.TrimRight(digits, "0")
	l.exponent += len(digits) - len(l.digits)
	if l.digits == "" {
		l.exponent = 0
	}
	return l, true
}

// ambiguous reports whether some YAML parsers read the number as octal and others as decimal, such as 0644.
func (l literal) ambiguous() bool { return l.leading }

// decimal formats a number of base 10 for JSON and strconv.
func (l literal) decimal() string {
	s := "0"
	if l.digits != "" {
		s = l.digits + "e" + strconv.Itoa(l.exponent)
	}
	if l.negative {
		s = "-" + s
	}
	return s
}

// integer is a whole number of at most 64 bits, with a sign.
type integer struct {
	negative  bool
	magnitude uint64
}

func (i integer) String() string {
	s := strconv.FormatUint(i.magnitude, 10)
	if i.negative && i.magnitude > 0 {
		s = "-" + s
	}
	return s
}

// signed returns the number as an int64.
func (i integer) signed() (int64, bool) {
	if i.negative {
		return -int64(i.magnitude), i.magnitude <= 1<<63
	}
	return int64(i.magnitude), i.magnitude <= math.MaxInt64
}

// unsigned returns the number as a uint64.
func (i integer) unsigned() (uint64, bool) { return i.magnitude, !i.negative || i.magnitude == 0 }

var (
	errOctal    = &valueError{why: "begins with a 0, which makes it octal to some readers: write it without the 0, with 0o for octal, or in quotes for a text"}
	errNotWhole = errors.New("not a whole number")
	errTooLarge = errors.New("out of the range of the type")
)

// integer returns the number if it is whole and has at most 64 bits.
func (l literal) integer() (i integer, err error) {
	i.negative = l.negative
	switch {
	case l.ambiguous():
		return i, errOctal
	case l.base == 0, l.exponent < 0:
		return i, errNotWhole
	case len(l.digits)+l.exponent > 64:
		return i, errTooLarge
	}
	i.magnitude, err = strconv.ParseUint("0"+l.digits+strings.Repeat("0", l.exponent), l.base, 64)
	if err != nil {
		return i, errTooLarge
	}
	return i, nil
}

// float returns the number as a float of 32 or 64 bits. It must be exact: formatted with as many digits, the float must be the number again.
// 0.1 is exact; 16777217 as a float32 and 1e400 are not.
func (l literal) float(bits int) (f float64, err error) {
	switch {
	case l.base == 0:
		return l.special, nil
	case l.ambiguous():
		return 0, errOctal
	case l.base != 10:
		return l.floatOfInteger(bits)
	}
	const longest = 800 // a float64 has no more digits
	name := "float" + strconv.Itoa(bits)
	f, err = strconv.ParseFloat(l.decimal(), bits)
	if err != nil {
		return 0, &valueError{why: "is out of the range of a " + name}
	}
	if len(l.digits) > longest {
		return 0, &valueError{why: "has more digits than a " + name}
	}
	written := strconv.FormatFloat(f, 'e', max(0, len(l.digits)-1), bits)
	if back, _ := readLiteral(written); back.digits != l.digits || back.exponent != l.exponent {
		return 0, &valueError{why: "cannot be held exactly by a " + name + "; the nearest number is " + strconv.FormatFloat(f, 'g', -1, bits)}
	}
	return f, nil
}

func (l literal) floatOfInteger(bits int) (float64, error) {
	i, err := l.integer()
	if err != nil {
		return 0, &valueError{why: "is out of the range of a float" + strconv.Itoa(bits)}
	}
	whole, _ := readLiteral(i.String())
	return whole.float(bits)
}

// shortest returns the shortest form of a float that parses to the same float.
func shortest(f float64, bits int) number { return number(strconv.FormatFloat(f, 'g', -1, bits)) }
