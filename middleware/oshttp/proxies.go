package oshttp

import (
	"net/http"
	"net/netip"
	"strings"
)

// Proxies describe the reverse proxies in front of a server. Their headers replace the addresses of the connection: url.scheme,
// server.address, server.port and client.address are then those of the request that the client made.
type Proxies struct {
	// Trusted are the addresses of the proxies. A header is trusted if it comes from one of them; in a chain of proxies, the
	// header of the outermost trusted one counts. A peer on a Unix socket has no address and is trusted. Empty trusts no other.
	Trusted []netip.Prefix
	// XForwarded reads X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host rather than Forwarded (RFC 7239). Choose the
	// form that the proxies write: they pass the other one on unchanged from the client. Default: Forwarded.
	XForwarded bool
}

// maxForwarded bounds the bytes of the proxies' headers. Longer ones are ignored.
const maxForwarded = 4096

// origin is the request that a proxy received, by its headers. Empty fields are unknown.
type origin struct{ scheme, host, client string }

// origin returns the trusted data of the request, or nothing if it came from elsewhere.
func (p *Proxies) origin(r *http.Request) (o origin) {
	if peer, ok := addressOf(r.RemoteAddr); ok && !p.trusts(peer) {
		return origin{}
	}
	if p.XForwarded {
		o = p.fromXForwarded(r.Header)
	} else {
		o = p.fromForwarded(r.Header)
	}
	switch o.scheme = strings.ToLower(o.scheme); o.scheme {
	case "http", "https":
	default: // it appears on metrics: few values, known in advance
		o.scheme = ""
	}
	return o
}

func (p *Proxies) trusts(address netip.Addr) bool {
	for _, prefix := range p.Trusted {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}

// outermost returns the index of the hop of the outermost trusted proxy. A hop is the peer that a proxy saw. The last one was
// written by the peer of the connection; the search continues to the left while the hop is a trusted proxy itself.
func (p *Proxies) outermost(hops []string) int {
	for i := len(hops) - 1; i > 0; i-- {
		if address, ok := addressOf(hops[i]); !ok || !p.trusts(address) {
			return i
		}
	}
	return 0
}

// fromForwarded parses the header of RFC 7239.
func (p *Proxies) fromForwarded(header http.Header) origin {
	value := listOf(header, "Forwarded")
	if value == "" {
		return origin{}
	}
	elements := splitQuoted(value, ',')
	hops := make([]string, len(elements))
	all := make([]origin, len(elements))
	for i, element := range elements {
		for _, pair := range splitQuoted(element, ';') {
			key, v, _ := strings.Cut(pair, "=")
			switch v = unquote(strings.TrimSpace(v)); strings.ToLower(strings.TrimSpace(key)) {
			case "for":
				hops[i] = v
				if address, ok := addressOf(v); ok {
					all[i].client = address.String()
				}
			case "proto":
				all[i].scheme = v
			case "host":
				all[i].host = v
			}
		}
	}
	return all[p.outermost(hops)]
}

// fromXForwarded parses the older headers. Proxies append to X-Forwarded-For; they replace the others, or append to them too.
func (p *Proxies) fromXForwarded(header http.Header) origin {
	hops := splitList(listOf(header, "X-Forwarded-For"))
	at := p.outermost(hops)
	same := func(name string) string {
		values := splitList(listOf(header, name))
		switch len(values) {
		case 0:
			return ""
		case len(hops):
			return values[at]
		}
		return values[len(values)-1]
	}
	o := origin{scheme: same("X-Forwarded-Proto"), host: same("X-Forwarded-Host")}
	if len(hops) > 0 {
		if address, ok := addressOf(hops[at]); ok {
			o.client = address.String()
		}
	}
	return o
}

// listOf returns the lines of a header as one list, or "" if it is too long.
func listOf(header http.Header, name string) string {
	value := strings.Join(header[name], ",")
	if len(value) > maxForwarded {
		return ""
	}
	return value
}

func splitList(list string) []string {
	if list == "" {
		return nil
	}
	values := strings.Split(list, ",")
	for i, v := range values {
		values[i] = strings.TrimSpace(v)
	}
	return values
}

// splitQuoted splits at a separator that is not in a quoted string.
func splitQuoted(s string, sep byte) []string {
	var parts []string
	quoted, start := false, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == sep && !quoted:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}

// unquote returns the value of a token or a quoted string.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	s = s[1 : len(s)-1]
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

// addressOf returns the IP address of "address", "address:port" or "[v6]:port".
func addressOf(s string) (netip.Addr, bool) {
	host, _ := splitHost(s)
	address, err := netip.ParseAddr(host)
	return address.Unmap(), err == nil
}
