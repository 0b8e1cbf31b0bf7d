package testenv

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// PostgresHandle is a running PostgreSQL that writes every transaction to disk before it answers. Its data survives a Restart.
type PostgresHandle struct{ *Process }

// Postgres starts a PostgreSQL for the test.
func Postgres(t testing.TB) *PostgresHandle {
	t.Helper()
	return &PostgresHandle{Process: start(t, postgresEngine())}
}

// URL returns the URL for clients, of a superuser without a password.
func (p *PostgresHandle) URL() string {
	return "postgres://postgres@" + p.Addr(0) + "/postgres?sslmode=disable"
}

// Kill kills the server, and the processes that serve its clients, at once.
func (p *PostgresHandle) Kill() {
	p.stopForking()
	children := childrenOf(p.Pid())
	p.Process.Kill()
	for _, child := range children {
		_ = child.Kill() // or it has ended with the server
	}
	Eventually(p.t, stopWithin, "the server's processes to end", func() error {
		for _, child := range children {
			if alive(child) {
				return fmt.Errorf("process %d still runs", child.Pid)
			}
		}
		return nil
	})
}

// stopForking freezes only the server. A child that it started after the list of its children was read would survive a kill and keep the
// server's listening socket. Nothing could then listen on that port.
func (p *PostgresHandle) stopForking() {
	server := p.current().process
	_ = pause(server) // or it has ended
	Eventually(p.t, stopWithin, "the server to stop", func() error {
		if !frozen(server) {
			return errors.New("it still runs")
		}
		return nil
	})
}

// Pause stops the server, and the processes that serve its clients.
func (p *PostgresHandle) Pause() {
	p.Process.Pause()
	for _, child := range childrenOf(p.Pid()) {
		_ = pause(child)
	}
}

// Resume continues a paused server.
func (p *PostgresHandle) Resume() {
	for _, child := range childrenOf(p.Pid()) {
		resume(child)
	}
	p.Process.Resume()
}

func postgresEngine() *Engine {
	return &Engine{
		Name:    "postgres",
		Weight:  Installed,
		Command: postgresCommand(),
		Remedy:  "apt-get install postgresql",
		Ports:   1,
		Prepare: initDB,
		User:    "nobody",
		Args: func(p Place) []string {
			return []string{
				"-D", p.File("data"), "-h", "127.0.0.1", "-p", fmt.Sprint(p.Ports[0]), "-c", "unix_socket_directories=",
				"-c", "max_connections=200", "-c", "dynamic_shared_memory_type=mmap", // a killed server leaves nothing in /dev/shm
			}
		},
		StopSignal: os.Interrupt, // SIGTERM would wait for all clients to disconnect
		Ready:      func(ctx context.Context, p Place) error { return admits(ctx, p.Addr(0)) },
	}
}

// postgresCommand returns the path of the server on Debian, which is not on PATH. If there are several versions, it returns the latest.
func postgresCommand() string {
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres"); len(found) > 0 {
		return found[len(found)-1]
	}
	return "postgres"
}

// initDB creates the data folder unless it exists. It copies the template if there is one: initdb takes a second of CPU time.
func initDB(p Place) error {
	if _, err := os.Stat(p.File("data")); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	own := ownFolder()
	if own == nil {
		return runInitDB(p, p.Dir)
	}
	template := filepath.Join(own.path, "postgres")
	if err := makeTemplate(p, template); err != nil {
		return err
	}
	if said, err := exec.Command("cp", "-a", filepath.Join(template, "data"), p.Dir).CombinedOutput(); err != nil {
		return fmt.Errorf("copying %s: %w: %s", template, err, tail(string(said), 10))
	}
	return nil
}

// templateMutex guards the template of this process.
var templateMutex sync.Mutex

// makeTemplate creates the template folder, once for each process.
func makeTemplate(p Place, template string) error {
	templateMutex.Lock()
	defer templateMutex.Unlock()
	if present(template) {
		return nil
	}
	fresh := template + ".new"
	if err := errors.Join(os.RemoveAll(fresh), os.Mkdir(fresh, 0o755)); err != nil {
		return err
	}
	if err := runInitDB(p, fresh); err != nil {
		return err
	}
	return os.Rename(fresh, template)
}

// runInitDB creates the folder data in dir.
func runInitDB(p Place, dir string) error {
	program, err := filepath.EvalSymlinks(p.Program.Path) // initdb is in the same folder as the server
	if err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(filepath.Dir(program), "initdb"),
		"-D", filepath.Join(dir, "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	cmd.Dir = dir
	if err := runAs(cmd, dir, "nobody"); err != nil {
		return err
	}
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, tail(string(said), 10))
	}
	return nil
}

// admits begins a session as a client does. It returns nil if the server continues with authentication. A recovering server answers with an
// error.
func admits(ctx context.Context, addr string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	const version = 3 << 16
	body := "user\x00postgres\x00database\x00postgres\x00\x00"
	hello := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(8+len(body))), version)
	if _, err := conn.Write(append(hello, body...)); err != nil {
		return err
	}
	var kind [1]byte
	if _, err := conn.Read(kind[:]); err != nil {
		return err
	}
	if kind[0] != 'R' {
		return fmt.Errorf("%s answered with a message %q", addr, kind[0])
	}
	return nil
}
