package testenv

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"
	"time"
)

// Verdict decides about a chunk of bytes: now bytes are forwarded at once, and the rest when the channel is closed. A nil channel forwards
// everything. Later data on the connection waits behind the chunk, as on any TCP connection.
type Verdict func(chunk []byte) (now int, rest <-chan struct{})

// TapHandle is a TCP proxy in the test's own process: the network between clients and a server, controlled by a test chunk by chunk. Data
// that a client has sent before it closes its connection still reaches the server.
type TapHandle struct {
	listener net.Listener
	upstream string
	open     context.Context // ends with close
	end      context.CancelFunc

	mu        sync.Mutex
	requests  Verdict
	answers   Verdict
	latency   time.Duration
	conns     map[net.Conn]struct{}
	forwarded sync.WaitGroup
}

// Tap starts a proxy in front of the server at the address.
func Tap(t testing.TB, upstream string) *TapHandle {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &TapHandle{listener: listener, upstream: upstream, conns: map[net.Conn]struct{}{}}
	p.open, p.end = context.WithCancel(context.Background())
	p.forwarded.Go(p.forward)
	t.Cleanup(p.close)
	return p
}

// Endpoint returns the address for clients, instead of the server's own.
func (p *TapHandle) Endpoint() string { return p.listener.Addr().String() }

// Requests sets the function that decides about each chunk that a client sends. Nil forwards everything.
func (p *TapHandle) Requests(decide func(chunk []byte) (now int, rest <-chan struct{})) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = decide
}

// Answers sets the function that decides about each chunk that the server sends. Nil forwards everything.
func (p *TapHandle) Answers(decide func(chunk []byte) (now int, rest <-chan struct{})) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers = decide
}

// Slow delays each chunk that a client sends. It does not limit how many are in flight.
func (p *TapHandle) Slow(latency time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latency = latency
}

// forward accepts connections. Every goroutine of a tap has it on its stack, by name.
func (p *TapHandle) forward() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.forwarded.Go(func() { p.forwardOne(client) })
	}
}

// forwardOne connects to the server, without a time limit: on a busy machine, a limit would be a fault that no test has asked for.
func (p *TapHandle) forwardOne(client net.Conn) {
	server, err := (&net.Dialer{}).DialContext(p.open, "tcp", p.upstream)
	if err != nil {
		_ = client.Close()
		return
	}
	if !p.keep(client, server) {
		return
	}
	p.forwarded.Go(func() {
		p.forwardChunks(server, client, func() Verdict { return p.answers }, func() time.Duration { return 0 })
	})
	p.forwardChunks(client, server, func() Verdict { return p.requests }, func() time.Duration { return p.latency })
}

// keep registers connections, which close ends. It returns false after close.
func (p *TapHandle) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if p.conns == nil {
			_ = c.Close()
			continue
		}
		p.conns[c] = struct{}{}
	}
	return p.conns != nil
}

func (p *TapHandle) forget(c net.Conn) {
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

type piece struct {
	bytes []byte
	due   time.Time
}

// forwardChunks forwards one direction until either side closes.
func (p *TapHandle) forwardChunks(from, to net.Conn, verdict func() Verdict, latency func() time.Duration) {
	pieces := make(chan piece, 1024)
	p.forwarded.Go(func() { p.forwardRead(from, pieces, latency) })
	defer p.forget(to)
	for next := range pieces {
		time.Sleep(time.Until(next.due))
		p.mu.Lock()
		decide := verdict()
		p.mu.Unlock()
		if !p.pass(to, next.bytes, decide) {
			break
		}
	}
	p.forget(from)
	for range pieces { // until the reader notices
	}
}

func (p *TapHandle) forwardRead(from net.Conn, pieces chan<- piece, latency func() time.Duration) {
	defer close(pieces)
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			p.mu.Lock()
			due := time.Now().Add(latency())
			p.mu.Unlock()
			pieces <- piece{bytes.Clone(buffer[:n]), due}
		}
		if err != nil {
			return
		}
	}
}

// pass forwards a chunk. It returns false when nothing more can be forwarded.
func (p *TapHandle) pass(to net.Conn, chunk []byte, decide Verdict) bool {
	if decide != nil {
		now, rest := decide(chunk)
		if rest != nil {
			if _, err := to.Write(chunk[:now]); err != nil {
				return false
			}
			select {
			case <-rest:
			case <-p.open.Done():
				return false
			}
			chunk = chunk[now:]
		}
	}
	_, err := to.Write(chunk)
	return err == nil
}

// close ends every connection, and drops held chunks.
func (p *TapHandle) close() {
	_ = p.listener.Close()
	p.end()
	p.mu.Lock()
	for c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
	p.mu.Unlock()
	p.forwarded.Wait()
}
