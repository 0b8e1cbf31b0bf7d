package natskv

import (
	"fmt"
	"strings"
)

// escape returns the name of a key in the bucket: its parts between slashes, joined by dots. An empty part becomes an equals sign, since NATS
// has no empty tokens.
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

// unescape returns the key of a name. A name that escape cannot return is an error, since another program wrote it.
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
				return "", fmt.Errorf("%q in the bucket is no key of this driver: keep the keys of other programs apart", name)
			}
			if _, err := fmt.Sscanf(part[1:3], "%02X", &c); err != nil {
				return "", fmt.Errorf("%q in the bucket is no key of this driver: keep the keys of other programs apart: %w", name, err)
			}
			b.WriteByte(c)
			part = part[3:]
		}
	}
	return b.String(), nil
}

// filter returns the narrowest pattern that matches the names of all keys with this prefix.
func filter(prefix string) string {
	slash := strings.LastIndexByte(prefix, '/')
	if slash < 0 {
		return ">"
	}
	return escape(prefix[:slash]) + ".>"
}
