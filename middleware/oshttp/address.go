package oshttp

import (
	"net/http"
	"strconv"
	"strings"
)

// splitHost splits "host", "host:port", "[v6]", "[v6]:port", a bare IPv6 address or the path of a Unix socket. Any other
// form is a host, unchanged.
func splitHost(address string) (host, port string) {
	switch {
	case address == "" || address == "@": // the end of a Unix socket without a name
		return "", ""
	case address[0] == '/' || address[0] == '@':
		return address, ""
	case address[0] == '[':
		return splitBracketed(address)
	}
	i := strings.IndexByte(address, ':')
	if i < 0 || strings.IndexByte(address[i+1:], ':') >= 0 {
		return address, ""
	}
	return address[:i], address[i+1:]
}

func splitBracketed(address string) (host, port string) {
	end := strings.IndexByte(address, ']')
	switch {
	case end < 2: // not closed, or nothing between
		return address, ""
	case end == len(address)-1:
		return address[1:end], ""
	case address[end+1] != ':' || strings.IndexByte(address[end+2:], ':') >= 0:
		return address, ""
	}
	return address[1:end], address[end+2:]
}

// portNumber returns the number of a port, or 0 if it is invalid.
func portNumber(digits string) int {
	if digits == "" { // strconv would return an error, which allocates
		return 0
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return 0
	}
	return int(n)
}

// splitAddress is splitHost with the port as a number, or 0 if there is none.
func splitAddress(address string) (host string, port int) {
	host, digits := splitHost(address)
	return host, portNumber(digits)
}

// serverOf returns the server of a client's request: the one in the Host header, which follows Request.Host, with the port
// of the URL's scheme if it has none.
func serverOf(r *http.Request) serverID {
	address := r.Host
	if address == "" {
		address = r.URL.Host
	}
	host, digits := splitHost(address)
	port := portNumber(digits)
	if digits == "" {
		switch r.URL.Scheme {
		case "https":
			port = 443
		case "http":
			port = 80
		}
	}
	return serverID{host, port}
}
