package engine

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
)

// address is a URL that names an engine. Its text has no credentials.
type address struct {
	*url.URL
	scheme string // without the s of TLS
}

// memory is the URL of an engine that has no address.
const memory = "memory"

// parse returns the address that a URL names. No error shows the URL: what is no proper one may hold a password anywhere.
func parse(where, flag string, schemes []string) (*address, error) {
	if where == memory && takes(schemes, memory) {
		return &address{URL: &url.URL{Path: memory}, scheme: memory}, nil
	}
	u, err := url.Parse(where)
	refused := func(why string) error {
		return fmt.Errorf("%s: %w: %s: must be %s", flag, ErrURL, why, forms(schemes))
	}
	switch {
	case err != nil || u.Scheme == "" || u.Opaque != "":
		return nil, refused("it is no URL of an engine")
	case !takes(schemes, u.Scheme) || u.Scheme == memory:
		return nil, refused("its scheme is " + u.Scheme)
	case u.Fragment != "":
		return nil, refused("it has a # (write %23 in a password)")
	}
	a := &address{URL: u, scheme: u.Scheme}
	if encrypts(strings.TrimSuffix(u.Scheme, "s")) {
		a.scheme = strings.TrimSuffix(u.Scheme, "s")
	}
	switch {
	case a.scheme == "bolt" && (u.Host != "" || u.Path == ""):
		return nil, refused("it names no file")
	case a.scheme != "bolt" && u.Host == "":
		return nil, refused("it names no host")
	}
	return a, nil
}

// String returns the URL without credentials and parameters.
func (a *address) String() string {
	bare := url.URL{Scheme: a.Scheme, Host: a.Host, Path: a.Path}
	return bare.String()
}

// hosts are those of the URL, each with its port.
func (a *address) hosts() []string { return strings.Split(a.Host, ",") }

// user returns the user's name and password.
func (a *address) user() (name, password string) {
	password, _ = a.User.Password()
	return a.User.Username(), password
}

// hide returns an error whose text has no password, should a client have put it there.
func (a *address) hide(err error) error {
	_, password := a.user()
	said := err.Error()
	for _, form := range []string{password, strings.TrimPrefix(url.UserPassword("", password).String(), ":")} {
		if form != "" {
			said = strings.ReplaceAll(said, form, "xxxxx")
		}
	}
	if said == err.Error() {
		return err
	}
	return &hidden{err: err, said: said}
}

type hidden struct {
	err  error
	said string
}

// Error implements error.
func (h *hidden) Error() string { return h.said }

// Is reports whether the error is another. There is no Unwrap, since what it returned would show the password.
func (h *hidden) Is(target error) bool { return errors.Is(h.err, target) }

// only returns an error if the URL has a parameter other than these, or a path where none is expected: nothing is ignored.
func (a *address) only(path bool, parameters ...string) error {
	if !path && strings.Trim(a.Path, "/") != "" {
		return fmt.Errorf("%w: there is nothing at the path %s", ErrURL, a.Path)
	}
	for name := range a.Query() {
		found := false
		for _, p := range parameters {
			found = found || p == name
		}
		if !found {
			return fmt.Errorf("%w: unknown parameter %q", ErrURL, name)
		}
	}
	return nil
}

// tls returns how to encrypt, or nil.
func (a *address) tls() (*tls.Config, error) {
	q := a.Query()
	if a.Scheme == a.scheme {
		if len(q) > 0 {
			return nil, fmt.Errorf("%w: ca, cert and key are for %ss", ErrURL, a.scheme)
		}
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if file := q.Get("ca"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", file)
		}
	}
	if q.Has("cert") || q.Has("key") {
		own, err := tls.LoadX509KeyPair(q.Get("cert"), q.Get("key"))
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config, nil
}
