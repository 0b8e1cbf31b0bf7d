package testenv

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// fakeEngine describes the fake server, with extra flags.
func fakeEngine(flags ...string) *Engine {
	return &Engine{
		Name:   "fake",
		Weight: Light,
		Module: "fake",
		Ports:  1,
		Args:   func(p Place) []string { return append([]string{"-addr=" + p.Addr(0)}, flags...) },
		Ready: func(ctx context.Context, p Place) error {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Addr(0)+"/ready", nil)
			if err != nil {
				return err
			}
			return expectOK(request)
		},
	}
}

func TestServerThatEndsAtOnceFailsTheTestWithItsOutput(t *testing.T) {
	found := fakeProgram(t)
	begin := time.Now()
	r := observe(t, func(t testing.TB) { startProgram(t, fakeEngine("-broken"), found, freePorts) })
	for _, want := range []string{"fake did not start", "the flux capacitor is missing", "exit status 3"} {
		if !strings.Contains(r.failed(), want) {
			t.Errorf("failure does not say %q: %s", want, r.failed())
		}
	}
	if took := time.Since(begin); took > readyWithin/2 {
		t.Errorf("took %s: waited for a server that had ended", took)
	}
}

func TestProgramThatIsNotOneFailsTheTest(t *testing.T) {
	r := observe(t, func(t testing.TB) { startProgram(t, fakeEngine(), Program{Path: "/nonexistent/fake"}, freePorts) })
	if !strings.Contains(r.failed(), "fake could not be started") {
		t.Errorf("failure: %q", r.failed())
	}
}

func TestTakenPortIsTriedAgainWithAnother(t *testing.T) {
	found := fakeProgram(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	busy := taken.Addr().(*net.TCPAddr).Port
	var asked int
	ports := func(n int) ([]int, error) {
		if asked++; asked <= 2 {
			return []int{busy}, nil
		}
		return freePorts(n)
	}
	p := startProgram(t, fakeEngine(), found, ports)
	if asked != 3 || p.place.Ports[0] == busy {
		t.Errorf("asked %d times for ports and runs on %s", asked, p.Addr(0))
	}
	r := observe(t, func(t testing.TB) {
		startProgram(t, fakeEngine(), found, func(int) ([]int, error) { return []int{busy}, nil })
	})
	if !strings.Contains(r.failed(), "address already in use") {
		t.Errorf("with no other port: %q, want the server's own words", r.failed())
	}
}

func TestDeafServerIsKilledAndFailsTheTest(t *testing.T) {
	found := fakeProgram(t)
	var p *Process
	r := observe(t, func(t testing.TB) {
		p = startProgram(t, fakeEngine("-deaf"), found, freePorts)
		p.stopWithin = 200 * time.Millisecond
	})
	if p.Running() {
		t.Error("runs after its test")
	}
	if !strings.Contains(r.failed(), "fake did not end within 200ms of SIGTERM") {
		t.Errorf("failure: %q", r.failed())
	}
	if len(r.logged) == 0 || !strings.Contains(r.logged[0], "output of fake ends") {
		t.Errorf("a failed test does not show the output: %q", r.logged)
	}
}

func TestStopAndKillMayBeRepeated(t *testing.T) {
	p := startProgram(t, fakeEngine(), fakeProgram(t), freePorts)
	port := p.Addr(0)
	p.Kill()
	p.Kill()
	p.Stop()
	p.Restart()
	p.Restart()
	if !p.Running() || p.Addr(0) != port {
		t.Errorf("runs: %t, on %s, want %s", p.Running(), p.Addr(0), port)
	}
	p.Stop()
	p.Stop()
	p.Kill()
	if p.Running() {
		t.Error("runs after Stop")
	}
}

// helpParent is a test process that starts a server and prints its address. It is then killed.
func helpParent(program string) {
	t := &recorder{}
	p := &Process{t: t, engine: fakeEngine(), place: Place{Program: Program{Path: program}, Dir: os.TempDir()}}
	var err error
	if p.place.Dir, err = os.MkdirTemp("", "testenv"); err == nil {
		if p.place.Ports, err = freePorts(1); err == nil {
			err = p.start()
		}
	}
	fmt.Println(p.Addr(0), p.place.Dir, err)
	select {}
}

func TestServerDiesWithAKilledTestProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux kills the children of a process that was killed")
	}
	parent, said := helper(t, "parent="+fakeProgram(t).Path)
	var address, dir string
	if n, err := fmt.Sscanf(said, "%s %s <nil>", &address, &dir); n != 2 || err != nil {
		t.Fatalf("helper: %s", said)
	}
	defer os.RemoveAll(dir)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatalf("the helper's server does not answer: %v", err)
	}
	conn.Close()
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	Eventually(t, 20*time.Second, "the server to be gone", func() error {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return nil
		}
		conn.Close()
		return fmt.Errorf("%s still answers", address)
	})
}

func TestFreePortsAreDistinctAndOutsideTheEphemeralRange(t *testing.T) {
	ports, err := freePorts(20)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, port := range ports {
		if seen[port] || port < firstPort || port >= lastPort {
			t.Errorf("port %d: seen %t", port, seen[port])
		}
		seen[port] = true
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			t.Errorf("port %d is not free: %v", port, err)
			continue
		}
		listener.Close()
	}
}

// TestPortsOfAServerThatIsDown checks that no other server receives such ports, neither from this process nor from another one.
func TestPortsOfAServerThatIsDown(t *testing.T) {
	dir := t.TempDir()
	mine := reserve(dir)
	defer mine.unlock()
	down, err := mine.take(1)
	if err != nil {
		t.Fatal(err)
	}
	later, err := mine.take(blockSize / 2)
	if err != nil || slices.Contains(later, down[0]) {
		t.Errorf("this process takes %v, %v, while %d is down", later, err, down[0])
	}
	for range (lastPort-firstPort)/blockSize - 1 {
		other := reserve(dir)
		defer other.unlock()
		if other.first == mine.first {
			t.Fatalf("two processes have the ports from %d", mine.first)
		}
	}
	if none := reserve(dir); none.first < firstPort || none.first+blockSize > lastPort {
		t.Errorf("with every block reserved: ports from %d", none.first)
	}
}

// TestPortsThatAreTaken checks that they are skipped, and that an error reports when too few are left.
func TestPortsThatAreTaken(t *testing.T) {
	b := reserve(t.TempDir())
	defer b.unlock()
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(b.first)))
	if err != nil {
		t.Skipf("another program listens: %v", err)
	}
	defer listener.Close()
	if ports, err := b.take(3); err != nil || slices.Contains(ports, b.first) {
		t.Errorf("takes %v, %v, while %d is taken", ports, err, b.first)
	}
	if ports, err := b.take(blockSize); err == nil || !strings.Contains(err.Error(), "ports are free between") {
		t.Errorf("takes %v, %v, more than there are", ports, err)
	}
}

func TestEventuallyFailsWithTheLastError(t *testing.T) {
	r := observe(t, func(t testing.TB) {
		n := 0
		Eventually(t, 50*time.Millisecond, "a miracle", func() error { n++; return fmt.Errorf("try %d", n) })
	})
	if !strings.Contains(r.failed(), "a miracle: try ") {
		t.Errorf("failure: %q", r.failed())
	}
}
