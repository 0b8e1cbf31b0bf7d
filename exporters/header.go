package exporters

import (
	"errors"
	"fmt"
	"strings"
)

// The errors of checkHeader follow "entry 2" or the name of the header. They contain no part of the header, because a secret may be on
// either side.
var (
	errHeaderName  = errors.New("has a name that is no header name")
	errHeaderValue = errors.New("has a value with a line break or another character that no header may have")
	errHeaderOwn   = errors.New("is a header that the exporter sets itself")
)

// checkHeader reports why a protocol cannot send a header.
func checkHeader(protocol, name, value string) error {
	switch {
	case name == "" || strings.Trim(name, tokenChars) != "":
		return errHeaderName
	case strings.ContainsFunc(value, isControl):
		return errHeaderValue
	case setByExporter(strings.ToLower(name)):
		return errHeaderOwn
	case protocol == GRPC:
		return checkMetadata(strings.ToLower(name), value)
	}
	return nil
}

// tokenChars are the characters allowed in a name (RFC 9110, section 5.6.2).
const tokenChars = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// checkMetadata applies the further rules of gRPC: fewer characters in names, and printable ASCII in values that are not binary.
func checkMetadata(name, value string) error {
	if strings.HasPrefix(name, "grpc-") {
		return errHeaderOwn
	}
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
		return errHeaderName
	}
	if strings.HasSuffix(name, "-bin") {
		return nil
	}
	for i := range len(value) {
		if value[i] < ' ' || value[i] > '~' {
			return errHeaderValue
		}
	}
	return nil
}

func setByExporter(name string) bool {
	switch name {
	case "content-type", "content-length", "content-encoding", "transfer-encoding", "connection", "host", "te", "trailer", "upgrade", "keep-alive":
		return true
	}
	return false
}

// checkHeaders validates Options.Headers for the protocol of a signal.
func (o *Options) checkHeaders(protocol string) error {
	var errs []error
	for _, name := range sortedKeys(o.Headers) {
		if err := checkHeader(protocol, name, o.Headers[name]); err != nil {
			shown := fmt.Sprintf("%q", name)
			if errors.Is(err, errHeaderName) {
				shown = "a header" // its name may be the secret
			}
			errs = append(errs, fmt.Errorf("option Headers: %s %w", shown, err))
		}
	}
	return errors.Join(errs...)
}
