package testenv

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// PgBouncerHandle is a running PgBouncer, a pooler between clients and a PostgreSQL.
type PgBouncerHandle struct{ *Process }

// PgBouncer starts a PgBouncer in front of a PostgreSQL. It lends a limited number of server connections. Mode "transaction" lends one for
// a transaction, and mode "session" for as long as a client is connected.
func PgBouncer(t testing.TB, behind *PostgresHandle, mode string, connections int) *PgBouncerHandle {
	t.Helper()
	return &PgBouncerHandle{Process: start(t, pgbouncerEngine(behind.place.Ports[0], mode, connections))}
}

// URL returns the URL for clients, of a superuser without a password.
func (p *PgBouncerHandle) URL() string {
	return "postgres://postgres@" + p.Addr(0) + "/postgres?sslmode=disable"
}

func pgbouncerEngine(server int, mode string, connections int) *Engine {
	return &Engine{
		Name:    "pgbouncer",
		Weight:  Installed,
		Command: pgbouncerCommand(),
		Remedy:  "apt-get install pgbouncer",
		Ports:   1,
		User:    "nobody", // it refuses to run as root
		Prepare: func(p Place) error {
			if err := os.WriteFile(p.File("users.txt"), []byte("\"postgres\" \"\"\n"), 0o644); err != nil {
				return err
			}
			return os.WriteFile(p.File("pgbouncer.ini"), fmt.Appendf(nil, `[databases]
postgres = host=127.0.0.1 port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = trust
auth_file = %s
pool_mode = %s
default_pool_size = %d
server_connect_timeout = 2
server_login_retry = 1
`, server, p.Ports[0], p.File("users.txt"), mode, connections), 0o644)
		},
		Args:  func(p Place) []string { return []string{p.File("pgbouncer.ini")} },
		Ready: func(ctx context.Context, p Place) error { return admits(ctx, p.Addr(0)) },
	}
}

// pgbouncerCommand returns the path of the program on Debian, where only root's PATH has it.
func pgbouncerCommand() string {
	const debian = "/usr/sbin/pgbouncer"
	if _, err := os.Stat(debian); err == nil {
		return debian
	}
	return "pgbouncer"
}
