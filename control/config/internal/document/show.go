package document

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Redacted is shown in place of a secret.
const Redacted = "[redacted]"

// OneLine shortens a text, and escapes what does not print: a value must not control the terminal.
func OneLine(s string) string {
	s = strings.NewReplacer("\r\n", "⏎", "\n", "⏎", "\t", " ").Replace(s)
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) || !utf8.ValidString(s) {
		s = strings.ReplaceAll(strconv.Quote(s), `\"`, `"`)
		s = s[1 : len(s)-1]
	}
	return shorten(s)
}

// shorten truncates a text that is too long for a line.
func shorten(s string) string {
	const longest = 80
	if runes := []rune(s); len(runes) > longest {
		return string(runes[:longest]) + "…"
	}
	return s
}

// Show formats a value for a message. The caller must have redacted secrets.
func Show(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return v
	case text:
		return string(v)
	case goValue:
		return Show(v.written)
	case time.Time:
		return v.Format(time.RFC3339Nano)
	case []any, map[string]any:
		if out, err := json.Marshal(v); err == nil {
			return string(out)
		}
	}
	return fmt.Sprint(v)
}

// ShowText redacts the password of a URL.
func ShowText(s string) string {
	if strings.Contains(s, "://") && strings.Contains(s, "@") {
		u, err := url.Parse(s)
		switch {
		case err != nil:
			return Redacted
		case u.User != nil:
			if _, has := u.User.Password(); has {
				return u.Redacted()
			}
		}
	}
	return s
}
