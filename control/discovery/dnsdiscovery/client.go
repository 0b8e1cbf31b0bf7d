package dnsdiscovery

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/go-os/go-os/control/discovery/driver"
)

// client queries DNS servers.
type client struct {
	timeout time.Duration
	slots   chan struct{} // limits the exchanges under way

	preferred atomic.Pointer[string] // the server that answered last
}

// maxExchanges is how many exchanges of a Registry with servers are under way at once. A question queues again before each attempt, so that
// unanswered questions yield to the others.
const maxExchanges = 64

// attempts is the number of attempts per server.
const attempts = 2

func newClient(timeout time.Duration) *client {
	return &client{timeout: timeout, slots: make(chan struct{}, maxExchanges)}
}

// ask returns the answer to a question. The answer may be that the name does not exist. Otherwise it returns ErrDenied if the servers
// refuse to answer, and ErrUnavailable.
func (c *client) ask(ctx context.Context, servers []string, q question) (answer, error) {
	asked, shortest := q, lifetime{}
	for range maxAliases {
		a, err := c.askServers(ctx, servers, q)
		if err != nil {
			return answer{}, err
		}
		shortest.add(uint32(a.ttl / time.Second))
		if a.ttl = shortest.ttl; a.alias == "" {
			return a, nil
		}
		q.name = a.alias // the server has only this part of the chain
	}
	return answer{}, fmt.Errorf("%w: dns: %s: a chain of more than %d aliases", driver.ErrUnavailable, asked, maxAliases)
}

// askServers queries the servers in turn, starting with the one that answered last.
func (c *client) askServers(ctx context.Context, servers []string, q question) (answer, error) {
	var failed failures
	for range attempts {
		for _, server := range c.order(servers) {
			a, err := c.askServer(ctx, server, q)
			switch {
			case err == nil:
				c.preferred.Store(&server)
				return a, nil
			case ctx.Err() != nil:
				return answer{}, ctx.Err()
			}
			failed.add(fmt.Errorf("%s: %w", server, err))
		}
	}
	return answer{}, fmt.Errorf("%w: dns: %s: %w", failed.class(), q, failed)
}

// failures are why servers have not answered.
type failures []error

// add keeps an error, unless it repeats another one.
func (f *failures) add(err error) {
	for _, before := range *f {
		if before.Error() == err.Error() {
			return
		}
	}
	*f = append(*f, err)
}

// class returns ErrDenied if all servers refuse to answer, and ErrUnavailable otherwise.
func (f failures) class() error {
	for _, err := range f {
		if no := (*refusal)(nil); !errors.As(err, &no) || no.code != dnsmessage.RCodeRefused {
			return driver.ErrUnavailable
		}
	}
	return driver.ErrDenied
}

// Error implements error, in one line.
func (f failures) Error() string {
	var texts []string
	for _, err := range f {
		texts = append(texts, err.Error())
	}
	return strings.Join(texts, "; ")
}

// Unwrap returns the errors.
func (f failures) Unwrap() []error { return f }

// order returns the servers, the preferred one first.
func (c *client) order(servers []string) []string {
	first := c.preferred.Load()
	if first == nil {
		return servers
	}
	at := slices.Index(servers, *first)
	if at <= 0 {
		return servers
	}
	return slices.Concat(servers[at:], servers[:at])
}

// refusal is an answer without information about the question.
type refusal struct{ code dnsmessage.RCode }

// Error implements error.
func (r *refusal) Error() string {
	return "the server says " + strings.TrimPrefix(r.code.String(), "RCode")
}

// askServer queries one server, over TCP if the answer does not fit into a packet, and without EDNS(0) if the server does not support it.
func (c *client) askServer(ctx context.Context, server string, q question) (answer, error) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
	for _, edns := range []bool{true, false} {
		a, err := c.exchange(ctx, "udp", server, q, edns)
		if err == nil && a.truncated {
			a, err = c.exchange(ctx, "tcp", server, q, edns)
		}
		switch {
		case err != nil:
			return answer{}, err
		case a.code == dnsmessage.RCodeSuccess, a.code == dnsmessage.RCodeNameError:
			return a, nil
		case edns && (a.code == dnsmessage.RCodeFormatError || a.code == dnsmessage.RCodeNotImplemented):
		default:
			return answer{}, &refusal{a.code}
		}
	}
	return answer{}, &refusal{dnsmessage.RCodeFormatError}
}

// exchange sends a question over a new connection with a random port, and waits for the answer.
func (c *client) exchange(ctx context.Context, network, server string, q question, edns bool) (answer, error) {
	var random [2]byte
	_, _ = rand.Read(random[:]) // it never fails
	id := binary.BigEndian.Uint16(random[:])
	message, err := q.pack(id, edns)
	if err != nil {
		return answer{}, err
	}
	end := time.Now().Add(c.timeout)
	conn, err := (&net.Dialer{Deadline: end}).DialContext(ctx, network, server)
	if err != nil {
		return answer{}, c.explain(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(end) // a closed connection shows in the next call
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if network == "tcp" {
		return c.stream(conn, message, id, q)
	}
	return c.packet(conn, message, id, q)
}

// packet exchanges packets. It ignores all but the answer: any host may send a packet. The kernel drops packets of other hosts.
func (c *client) packet(conn net.Conn, message []byte, id uint16, q question) (answer, error) {
	if _, err := conn.Write(message); err != nil {
		return answer{}, c.explain(err)
	}
	var ignored error
	buffer := make([]byte, 1<<16)
	for {
		n, err := conn.Read(buffer)
		if err != nil && ignored != nil {
			return answer{}, fmt.Errorf("no valid answer within %s: %w", c.timeout, ignored)
		}
		if err != nil {
			return answer{}, c.explain(err)
		}
		a, err := parse(buffer[:n], id, q)
		if err == nil || errors.Is(err, errLame) {
			return a, err
		}
		ignored = err
	}
}

// stream exchanges messages over TCP, where each follows its length.
func (c *client) stream(conn net.Conn, message []byte, id uint16, q question) (answer, error) {
	framed := binary.BigEndian.AppendUint16(nil, uint16(len(message)))
	if _, err := conn.Write(append(framed, message...)); err != nil {
		return answer{}, c.explain(err)
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return answer{}, c.explain(err)
	}
	buffer := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, buffer); err != nil {
		return answer{}, c.explain(err)
	}
	a, err := parse(buffer, id, q)
	if err == nil && a.truncated {
		err = errors.New("the answer is truncated over TCP")
	}
	return a, err
}

// explain names the time that has passed in the error of a connection.
func (c *client) explain(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", c.timeout)
	}
	return err
}

// servers returns the addresses of the servers to query.
func (o *Options) servers() ([]string, error) {
	if len(o.Servers) > 0 {
		return o.Servers, nil
	}
	text, err := os.ReadFile(o.ResolvConf)
	if err != nil {
		return nil, fmt.Errorf("%w: dns: %w: set Options.Servers", driver.ErrUnavailable, err)
	}
	var all []string
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "nameserver" {
			if ip, err := netip.ParseAddr(fields[1]); err == nil {
				all = append(all, netip.AddrPortFrom(ip, 53).String())
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: dns: %s names no server: set Options.Servers", driver.ErrUnavailable, o.ResolvConf)
	}
	return all, nil
}
