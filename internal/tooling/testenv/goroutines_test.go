package testenv

import (
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// TestGoroutines: every function that Goroutines names is on a stack while a child process and a connection through a tap exist.
func TestGoroutines(t *testing.T) {
	output, err := os.CreateTemp(t.TempDir(), "output")
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), "sleep", "60")
	r, err := supervise(child, output)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill(); <-r.ended }()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		if server, err := listener.Accept(); err == nil {
			_, _ = io.Copy(server, server)
			_ = server.Close()
		}
	}()
	client, err := net.Dial("tcp", Tap(t, listener.Addr().String()).Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}

	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for _, name := range Goroutines() {
		if !strings.Contains(string(stacks), name+"(") {
			t.Errorf("no goroutine runs %s:\n%s", name, stacks)
		}
	}
}
