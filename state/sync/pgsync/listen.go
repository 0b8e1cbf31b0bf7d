package pgsync

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// listen hears notifications on a connection of its own.
func (d *Driver) listen(ctx context.Context, heard func(), message func(string)) error {
	conn, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer func() {
		late, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(late)
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{d.opts.Schema}.Sanitize()); err != nil {
		return err
	}
	heard()
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		message(n.Payload)
	}
}

// connect makes a connection as the pool would.
func (d *Driver) connect(ctx context.Context) (*pgx.Conn, error) {
	config := d.pool.Config()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if config.BeforeConnect != nil {
		if err := config.BeforeConnect(ctx, config.ConnConfig); err != nil {
			return nil, err
		}
	}
	return pgx.ConnectConfig(ctx, config.ConnConfig)
}
