package pgsync

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ears hear the notifications of all names on one connection, as long as the driver lives and from when somebody listened first.
type ears struct {
	life   context.Context
	pool   *pgxpool.Pool
	schema string
	group  sync.WaitGroup

	mu    sync.Mutex
	begun bool
	all   map[string]map[*ear]struct{} // by name
}

func newEars(life context.Context, pool *pgxpool.Pool, schema string) *ears {
	return &ears{life: life, pool: pool, schema: schema, all: map[string]map[*ear]struct{}{}}
}

// anyone is what an ear hears that hears everything about its name.
const anyone = 0

// ear hears about one name.
type ear struct {
	woken chan struct{} // capacity 1

	mu    sync.Mutex
	about int64 // the token of interest, or anyone
}

// listen returns an ear, until leave.
func (e *ears) listen(name string) (one *ear, leave func()) {
	one = &ear{woken: make(chan struct{}, 1)}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.all[name] == nil {
		e.all[name] = map[*ear]struct{}{}
	}
	e.all[name][one] = struct{}{}
	if !e.begun && e.life.Err() == nil {
		e.begun = true
		e.group.Go(e.run)
	}
	return one, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.all[name], one)
		if len(e.all[name]) == 0 {
			delete(e.all, name)
		}
	}
}

// wait returns when run has ended.
func (e *ears) wait() {
	e.mu.Lock()
	e.begun = true // and never begins
	e.mu.Unlock()
	e.group.Wait()
}

// hear says whose leaving is of interest from now on. What has been heard before stays.
func (o *ear) hear(about int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.about = about
}

func (o *ear) wake(about int64) {
	o.mu.Lock()
	mine := o.about == anyone || about == anyone || o.about == about
	o.mu.Unlock()
	if !mine {
		return
	}
	select {
	case o.woken <- struct{}{}:
	default:
	}
}

// wait returns when something was heard, or after d.
func (o *ear) wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-o.woken:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// run listens, and connects again when the connection is lost. Whatever may have been missed meanwhile wakes everybody.
func (e *ears) run() {
	const least, most = 50 * time.Millisecond, 2 * time.Second
	for wait := least; e.life.Err() == nil; wait = min(2*wait, most) {
		if e.hearing() {
			wait = least
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-e.life.Done():
			timer.Stop()
		}
	}
}

// hearing reports whether it has listened.
func (e *ears) hearing() bool {
	conn, err := e.connect()
	if err != nil {
		return false
	}
	defer func() {
		late, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(late)
	}()
	if _, err := conn.Exec(e.life, "LISTEN "+pgx.Identifier{e.schema}.Sanitize()); err != nil {
		return false
	}
	e.wakeAll()
	defer e.wakeAll()
	for {
		n, err := conn.WaitForNotification(e.life)
		if err != nil {
			return true
		}
		token, name, _ := strings.Cut(n.Payload, " ")
		if about, err := strconv.ParseInt(token, 10, 64); err == nil {
			e.wake(name, about)
		}
	}
}

// connect makes a connection as the pool would.
func (e *ears) connect() (*pgx.Conn, error) {
	config := e.pool.Config()
	ctx, cancel := context.WithTimeout(e.life, 5*time.Second)
	defer cancel()
	if config.BeforeConnect != nil {
		if err := config.BeforeConnect(ctx, config.ConnConfig); err != nil {
			return nil, err
		}
	}
	return pgx.ConnectConfig(ctx, config.ConnConfig)
}

func (e *ears) wake(name string, about int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for one := range e.all[name] {
		one.wake(about)
	}
}

func (e *ears) wakeAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, of := range e.all {
		for one := range of {
			one.wake(anyone)
		}
	}
}
