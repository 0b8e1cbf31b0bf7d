package exporters

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"google.golang.org/grpc/resolver"
)

// endpoint is the destination of OTLP.
type endpoint struct {
	url    *url.URL // over HTTP, with the path of the signal
	target string   // over gRPC, as grpc.NewClient takes it
	secure bool     // uses TLS
}

// String returns the endpoint without its secrets.
func (p endpoint) String() string {
	if p.url == nil {
		return p.target
	}
	return redactURL(p.url.String())
}

// findEndpoint returns the endpoint of a signal: from its own variable, the general variable, or the Options, in this order. The
// signal's own endpoint is used unchanged. Over HTTP the signal's path is added to the others. A malformed endpoint causes a warning
// and counts as unset. If none is left and must is set, the default of the specification is used.
func findEndpoint(e *environ, o *Options, which Signal, protocol string, must bool) (endpoint, bool, error) {
	insecure := e.boolean("OTEL_EXPORTER_OTLP_"+which.env()+"INSECURE", "OTEL_EXPORTER_OTLP_INSECURE")
	own, general := "OTEL_EXPORTER_OTLP_"+which.env()+"ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"
	var bad []string // variables
	var why []error
	for _, name := range []string{own, general} {
		value := e.vars[name]
		if value == "" {
			continue
		}
		at, notes, err := parseEndpoint(value, protocol, insecure)
		if err != nil {
			bad, why = append(bad, name), append(why, err)
			continue
		}
		for _, note := range notes {
			e.warn(name, "%s", note)
		}
		e.unused(bad, why, name+" is used")
		return at.of(which, name == own), true, nil
	}
	if o.Endpoint != "" {
		at, _, err := parseEndpoint(o.Endpoint, protocol, insecure)
		if protocol != GRPC && !strings.Contains(o.Endpoint, "://") {
			err = errScheme
		}
		if err != nil {
			return endpoint{}, false, fmt.Errorf("the Endpoint %q: %w", redactURL(o.Endpoint), err)
		}
		e.unused(bad, why, "Options.Endpoint is used")
		return at.of(which, false), true, nil
	}
	if !must {
		e.unused(bad, why, string(which)+" are not exported over OTLP")
		return endpoint{}, false, nil
	}
	def := "http://localhost:4318"
	if protocol == GRPC {
		def = "http://localhost:4317"
	}
	e.unused(bad, why, def+" is used")
	at, _, err := parseEndpoint(def, protocol, true)
	return at.of(which, false), true, err
}

func (e *environ) unused(names []string, why []error, instead string) {
	for i, name := range names {
		e.warn(name, "%v; it is treated as unset, %s", why[i], instead)
	}
}

// of adds the path of a signal over HTTP, unless the endpoint is the signal's own. It keeps the existing path.
func (p endpoint) of(which Signal, own bool) endpoint {
	if p.url == nil {
		return p
	}
	u := *p.url
	if own {
		u.Path = cmp.Or(u.Path, "/")
	} else {
		suffix := "/v1/" + string(which)
		if u.RawPath != "" {
			u.RawPath = strings.TrimSuffix(u.RawPath, "/") + suffix
		}
		u.Path = strings.TrimSuffix(u.Path, "/") + suffix
	}
	p.url = &u
	return p
}

// parseEndpoint parses an endpoint: a URL, or over gRPC any target, such as unix:/path, dns:///host:port or host:port. Without http://
// or https:// it uses TLS unless insecure is set; a socket of this machine never does. The notes list the parts that are not used.
func parseEndpoint(value, protocol string, insecure bool) (at endpoint, notes []string, err error) {
	if scheme, _, ok := strings.Cut(value, ":"); protocol == GRPC && ok && isTarget(scheme) {
		local := strings.HasPrefix(scheme, "unix")
		return endpoint{target: value, secure: !insecure && !local}, nil, nil
	}
	if !strings.Contains(value, "://") {
		scheme := "https"
		if insecure {
			scheme = "http"
		}
		if protocol != GRPC {
			notes = append(notes, fmt.Sprintf("%v; %s:// is used", errScheme, scheme))
		}
		value = scheme + "://" + value
	}
	u, err := parseURL(value)
	if err != nil && protocol == GRPC {
		return at, nil, fmt.Errorf("%w, and it is no target that gRPC knows", err)
	}
	if err != nil {
		return at, nil, err
	}
	u.Fragment, u.RawFragment = "", ""
	if protocol != GRPC {
		return endpoint{url: u, secure: u.Scheme == "https"}, notes, nil
	}
	if u.User != nil || u.RawQuery != "" || u.Path != "" && u.Path != "/" {
		notes = append(notes, "its user, path and query have no meaning over grpc and are left out; set OTEL_EXPORTER_OTLP_HEADERS to authenticate")
	}
	return endpoint{target: u.Host, secure: u.Scheme == "https"}, notes, nil
}

// isTarget reports whether gRPC knows the scheme of a target, including schemes that are registered later, such as xds.
func isTarget(scheme string) bool {
	return scheme == "unix" || scheme == "unix-abstract" || scheme != "http" && scheme != "https" && resolver.Get(scheme) != nil
}

// parseURL parses an HTTP URL. Its errors omit the URL, which may hold a password.
func parseURL(value string) (*url.URL, error) {
	u, err := url.Parse(value)
	if err != nil {
		var reason *url.Error
		if errors.As(err, &reason) {
			err = reason.Err
		}
		if strings.Contains(value, "@") {
			err = errors.New("parsing it fails")
		}
		return nil, fmt.Errorf("it is no URL: %w", err)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("the scheme %q is neither http nor https", u.Scheme)
	case u.Hostname() == "":
		return nil, errors.New("it names no host")
	}
	return u, nil
}
