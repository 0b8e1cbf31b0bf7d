package testenv_test

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/go-os/go-os/internal/tooling/testenv"
)

// sink is a server that shows the data it receives.
func sink(t *testing.T) (addr string, got <-chan []byte) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	all := make(chan []byte, 10)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buffer := make([]byte, 100)
				for {
					n, err := conn.Read(buffer)
					if n > 0 {
						all <- bytes.Clone(buffer[:n])
						_, _ = conn.Write([]byte("answer"))
					}
					if err != nil {
						return
					}
				}
			}()
		}
	}()
	return listener.Addr().String(), all
}

func dialTap(t *testing.T, tap *testenv.TapHandle) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", tap.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func receive(t *testing.T, got <-chan []byte, want string) {
	t.Helper()
	select {
	case b := <-got:
		if string(b) != want {
			t.Fatalf("the server got %q, want %q", b, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("the server got nothing, want %q", want)
	}
}

// TestTapHoldsRequests forwards a part of a request. The rest reaches the server after its client has gone.
func TestTapHoldsRequests(t *testing.T) {
	addr, got := sink(t)
	tap := testenv.Tap(t, addr)
	rest := make(chan struct{})
	tap.Requests(func(chunk []byte) (int, <-chan struct{}) {
		if string(chunk) == "request" {
			return 3, rest
		}
		return 0, nil
	})
	conn := dialTap(t, tap)
	if _, err := conn.Write([]byte("request")); err != nil {
		t.Fatal(err)
	}
	receive(t, got, "req")
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case b := <-got:
		t.Fatalf("the server got %q before the rest was let go", b)
	case <-time.After(50 * time.Millisecond):
	}
	close(rest)
	receive(t, got, "uest")
}

// TestTapHoldsAnswers holds an answer, and delays a request.
func TestTapHoldsAnswers(t *testing.T) {
	addr, got := sink(t)
	tap := testenv.Tap(t, addr)
	const latency = 50 * time.Millisecond
	tap.Slow(latency)
	held := make(chan struct{})
	tap.Answers(func([]byte) (int, <-chan struct{}) { return 0, held })
	conn := dialTap(t, tap)
	began := time.Now()
	if _, err := conn.Write([]byte("request")); err != nil {
		t.Fatal(err)
	}
	receive(t, got, "request")
	if took := time.Since(began); took < latency {
		t.Errorf("the request took %s, want %s at least", took, latency)
	}
	_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := conn.Read(make([]byte, 10)); err == nil {
		t.Fatalf("%d bytes of an answer that is held back", n)
	}
	close(held)
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	answer := make([]byte, len("answer"))
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "answer" {
		t.Errorf("the answer is %q, %v", answer, err)
	}
}
