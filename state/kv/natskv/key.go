package natskv

import (
	"fmt"
	"strings"
)

// escape returns the name of a key in the bucket: its parts between slashes, joined by dots. A part that is empty is a lone
// equals sign, since NATS knows no empty tokens.
func escape(key string) string {
	var b strings.Builder
	b.Grow(len(key) + 8)
	for i, part := range strings.Split(key, "/") {
		if i > 0 {
			b.WriteByte('.')
		}
		escapePart(&b, part)
	}
	return b.String()
}

func escapePart(b *strings.Builder, part string) {
	const digits = "0123456789ABCDEF"
	if part == "" {
		b.WriteByte('=')
		return
	}
	for i := range len(part) {
		if c := part[i]; plain(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('=')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
}

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-'
}

// unescape returns the key of a name, or an error if no key has it: someone else wrote to the bucket.
func unescape(name string) (string, error) {
	var b strings.Builder
	b.Grow(len(name))
	for i, part := range strings.Split(name, ".") {
		if i > 0 {
			b.WriteByte('/')
		}
		for part != "" && part != "=" {
			if part[0] != '=' {
				b.WriteByte(part[0])
				part = part[1:]
				continue
			}
			var c byte
			if len(part) < 3 {
				return "", fmt.Errorf("%q in the bucket is no key of this driver", name)
			}
			if _, err := fmt.Sscanf(part[1:3], "%02X", &c); err != nil {
				return "", fmt.Errorf("%q in the bucket is no key of this driver: %w", name, err)
			}
			b.WriteByte(c)
			part = part[3:]
		}
	}
	return b.String(), nil
}

// filter returns the narrowest pattern of names that all keys with this prefix match.
func filter(prefix string) string {
	slash := strings.LastIndexByte(prefix, '/')
	if slash < 0 {
		return ">"
	}
	return escape(prefix[:slash]) + ".>"
}
