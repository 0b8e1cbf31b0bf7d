package engine

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

// address is a URL that names an engine. Its text has no credentials.
type address struct {
	*url.URL
	scheme     string // without the s of TLS
	parameters url.Values
}

// memory is the URL of an engine that has no address.
const memory = "memory"

// parse returns the address that a URL names. No error shows the URL: a malformed one may hold a password anywhere.
func parse(where, flag string, schemes []string) (*address, error) {
	if where == memory && takes(schemes, memory) {
		return &address{URL: &url.URL{Path: memory}, scheme: memory}, nil
	}
	refused := func(why string) error {
		return fmt.Errorf("%s: %w: %s: must be %s", flag, ErrURL, why, forms(schemes))
	}
	u, err := url.Parse(where)
	switch {
	case err != nil || u.Scheme == "" || u.Opaque != "":
		return nil, refused("it is not a URL of an engine")
	case !takes(schemes, u.Scheme) || u.Scheme == memory:
		return nil, refused("its scheme is " + u.Scheme)
	case u.Fragment != "":
		return nil, refused("it has a # (write %23 in a password)")
	}
	a := &address{URL: u, scheme: u.Scheme}
	if encrypts(strings.TrimSuffix(u.Scheme, "s")) {
		a.scheme = strings.TrimSuffix(u.Scheme, "s")
	}
	a.parameters, err = url.ParseQuery(u.RawQuery)
	switch {
	case err != nil:
		return nil, refused("its parameters are malformed (write %25 for a %)")
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

// hosts returns the hosts of the URL, each with its port.
func (a *address) hosts() []string { return strings.Split(a.Host, ",") }

// user returns the user's name and password.
func (a *address) user() (name, password string) {
	password, _ = a.User.Password()
	return a.User.Username(), password
}

// hide returns an error whose text does not have the password, even if a client put it there.
func (a *address) hide(err error) error {
	_, password := a.user()
	text := err.Error()
	for _, form := range []string{password, strings.TrimPrefix(url.UserPassword("", password).String(), ":")} {
		if form != "" {
			text = strings.ReplaceAll(text, form, "xxxxx")
		}
	}
	if text == err.Error() {
		return err
	}
	return &hidden{err: err, text: text}
}

type hidden struct {
	err  error
	text string
}

// Error implements error.
func (h *hidden) Error() string { return h.text }

// Is reports whether the hidden error matches target. There is no Unwrap, since the wrapped error may show the password.
func (h *hidden) Is(target error) bool { return errors.Is(h.err, target) }

// only returns an error if the URL has an unexpected path, or an unknown or repeated parameter. No part of a URL is ignored.
func (a *address) only(path bool, parameters ...string) error {
	if !path && strings.Trim(a.Path, "/") != "" {
		return fmt.Errorf("%w: there is nothing at the path %s", ErrURL, a.Path)
	}
	for name, values := range a.parameters {
		if !slices.Contains(parameters, name) {
			return fmt.Errorf("%w: unknown parameter %q: use %s", ErrURL, name, strings.Join(parameters, ", "))
		}
		if len(values) > 1 {
			return fmt.Errorf("%w: duplicate parameter %q", ErrURL, name)
		}
	}
	return nil
}

// namespace returns the namespace in the URL, or nothing.
func (a *address) namespace() (string, error) {
	name := a.parameters.Get("namespace")
	if a.parameters.Has("namespace") && name == "" || !utf8.ValidString(name) {
		return "", fmt.Errorf("%w: namespace must be a name such as prod/shop, in UTF-8", ErrURL)
	}
	if trimmed := strings.Trim(name, "/"); trimmed != name { // it would be another namespace
		return "", fmt.Errorf("%w: namespace %q must not begin or end with a slash: use %q", ErrURL, name, trimmed)
	}
	return name, nil
}

// tls returns the TLS configuration of the URL, or nil for a plain connection.
func (a *address) tls() (*tls.Config, error) {
	p := a.parameters
	if a.Scheme == a.scheme {
		if p.Has("ca") || p.Has("cert") || p.Has("key") {
			return nil, fmt.Errorf("%w: ca, cert and key are for %ss", ErrURL, a.scheme)
		}
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if file := p.Get("ca"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificate: it must be in PEM", file)
		}
	}
	if p.Has("cert") != p.Has("key") {
		return nil, fmt.Errorf("%w: cert and key go together", ErrURL)
	}
	if p.Has("cert") {
		own, err := tls.LoadX509KeyPair(p.Get("cert"), p.Get("key"))
		if err != nil {
			return nil, fmt.Errorf("cert %s, key %s: %w", p.Get("cert"), p.Get("key"), err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config, nil
}
