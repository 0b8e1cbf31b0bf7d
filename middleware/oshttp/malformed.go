package oshttp

import (
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// malformed reports whether net/http refuses to send a request, whatever the server. Its errors have no type.
func malformed(r *http.Request) bool {
	switch {
	case r.Method != "" && !httpguts.ValidHeaderFieldName(r.Method): // both are tokens
		return true
	case r.Host != "" && !httpguts.ValidHostHeader(r.Host), strings.ContainsFunc(r.URL.RequestURI(), control):
		return true
	}
	for name := range r.Trailer {
		if !httpguts.ValidTrailerHeader(http.CanonicalHeaderKey(name)) {
			return true
		}
	}
	return malformedHeader(r.Header) || malformedHeader(r.Trailer)
}

func malformedHeader(h http.Header) bool {
	for name, values := range h {
		if !httpguts.ValidHeaderFieldName(name) || slices.ContainsFunc(values, func(v string) bool { return !httpguts.ValidHeaderFieldValue(v) }) {
			return true
		}
	}
	return false
}

func control(r rune) bool { return r < ' ' || r == 0x7f }
