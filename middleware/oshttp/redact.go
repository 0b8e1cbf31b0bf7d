package oshttp

import (
	"net/url"
	"strings"

	"github.com/go-os/go-os/internal/sanitize"
)

const redacted = "REDACTED"

// cleanQuery returns a raw query for a span: without the values of credentials, bounded, valid UTF-8.
func cleanQuery(query string) string {
	if len(query) > maxURL {
		// Cut first: a megabyte of query must not cost a megabyte of work. A credential at the cut still has its key before
		// it.
		query = query[:maxURL]
	}
	return sanitize.Text(redactQuery(query), maxURL)
}

// redactQuery replaces the values of credentials. Without any it copies nothing.
func redactQuery(query string) string {
	var out strings.Builder
	done := 0 // query[:done] is in out
	for at := 0; at < len(query); {
		end := len(query)
		if i := strings.IndexByte(query[at:], '&'); i >= 0 {
			end = at + i
		}
		if eq := strings.IndexByte(query[at:end], '='); eq >= 0 && secretKey(query[at:at+eq]) {
			out.WriteString(query[done : at+eq+1])
			out.WriteString(redacted)
			done = end
		}
		at = end + 1
	}
	if done == 0 {
		return query
	}
	out.WriteString(query[done:])
	return out.String()
}

// secretKey reports whether the value of a query key is a credential: by the list of the semantic conventions, the older form
// of signed URLs, OAuth 2.0 and common practice.
func secretKey(key string) bool {
	if strings.IndexByte(key, '%') >= 0 {
		if plain, err := url.QueryUnescape(key); err == nil {
			key = plain
		}
	}
	switch key {
	case "X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "sig", "X-Goog-Signature",
		"AWSAccessKeyId", "Signature",
		"access_token", "refresh_token", "id_token", "client_secret", "client_assertion", "code",
		"password", "token", "api_key", "apikey":
		return true
	}
	return false
}

// cleanURL returns the URL of a request for a span: without credentials, bounded, valid UTF-8.
func cleanURL(u *url.URL) string {
	if u.User == nil && u.RawQuery == "" {
		return sanitize.Text(u.String(), maxURL)
	}
	c := *u
	if c.User != nil {
		if _, ok := c.User.Password(); ok {
			c.User = url.UserPassword(redacted, redacted)
		} else {
			c.User = url.User(redacted)
		}
	}
	c.RawQuery = cleanQuery(c.RawQuery)
	return sanitize.Text(c.String(), maxURL)
}
