package pgsync

import (
	"context"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// listen receives notifications on a separate connection.
func (d *Driver) listen(ctx context.Context, connected func(), notify func(message string)) error {
	conn, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	if d.opts.Listen == nil {
		pooled, err := behindPooler(ctx, conn.PgConn())
		if err != nil {
			return err
		}
		if pooled {
			closeConn(conn)
			<-ctx.Done() // waiters depend on Options.Poll
			return ctx.Err()
		}
	}
	listen := "SET client_encoding TO 'UTF8'; LISTEN " + pgx.Identifier{d.opts.Schema}.Sanitize()
	if _, err := send(ctx, conn.PgConn(), listen); err != nil {
		return err
	}
	connected()
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		notify(n.Payload)
	}
}

func closeConn(conn *pgx.Conn) {
	late, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(late)
}

// behindPooler reports whether a pooler is between the connection and the server: a pooler reports other process IDs than the server. In
// transaction mode, a LISTEN would remain on a server connection that the pooler then gives to other clients.
func behindPooler(ctx context.Context, conn *pgconn.PgConn) (bool, error) {
	result, err := send(ctx, conn, "SELECT pg_backend_pid()")
	if err != nil {
		return false, err
	}
	return string(result.Rows[0][0]) != strconv.FormatUint(uint64(conn.PID()), 10), nil
}

// connect opens the connection to listen on, with Options.Listen or the pool's configuration.
func (d *Driver) connect(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if d.opts.Listen != nil {
		return pgx.ConnectConfig(ctx, d.opts.Listen.Copy())
	}
	config := d.pool.Config()
	if config.BeforeConnect != nil {
		if err := config.BeforeConnect(ctx, config.ConnConfig); err != nil {
			return nil, err
		}
	}
	return pgx.ConnectConfig(ctx, config.ConnConfig)
}
