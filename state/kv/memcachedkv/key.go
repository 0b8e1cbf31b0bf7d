package memcachedkv

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// longest is the length of the longest key that memcached accepts, in bytes.
const longest = 250

// escape returns the key for memcached. It is different for each key: an escaped byte is a percent sign and two hexadecimal digits, and a
// digest begins with a percent sign and a colon.
func escape(key string) string {
	const digits = "0123456789ABCDEF"
	plain := 0
	for plain < len(key) && !reserved(key[plain]) {
		plain++
	}
	if plain == len(key) && len(key) <= longest {
		return key
	}
	var b strings.Builder
	b.WriteString(key[:plain])
	for i := plain; i < len(key) && b.Len() <= longest; i++ {
		if c := key[i]; reserved(c) {
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	if b.Len() <= longest {
		return b.String()
	}
	sum := sha256.Sum256([]byte(key))
	return "%:" + hex.EncodeToString(sum[:])
}

func reserved(c byte) bool { return c <= ' ' || c == 0x7f || c == '%' }
