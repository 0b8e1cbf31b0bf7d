package pgsync

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// preamble makes a transaction independent of the defaults of its session. A timeout of the session may be shorter than a step takes. Without a
// timeout, a backend could wait for a row lock long after its client has disconnected.
const preamble = `SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;
	SET LOCAL search_path = pg_catalog;
	SET LOCAL lock_timeout = '5s';
	SET LOCAL statement_timeout = '10s';
	SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off';
	`

// exec runs statements in one transaction and returns the result of the last one.
//
// The statements are one Query message of the simple protocol. PostgreSQL starts when it has the whole message, and needs nothing else
// from the client to commit. A client that stops at any moment therefore holds no lock. There are no prepared statements and no session
// state, so the server connection may change between two calls, as it does behind a pooler.
func (d *Driver) exec(ctx context.Context, statements string, args ...any) (*pgconn.Result, error) {
	conn, err := d.pool.Acquire(ctx)
	if err != nil {
		return nil, d.classify(ctx, err)
	}
	defer conn.Release()
	if d.tracer != nil {
		traced := pgx.TraceQueryStartData{SQL: render(d.opts.Schema, statements), Args: args}
		ctx = d.tracer.TraceQueryStart(ctx, conn.Conn(), traced)
	}
	result, err := send(ctx, conn.Conn().PgConn(), render(d.opts.Schema, preamble+statements, args...))
	if d.tracer != nil {
		d.tracer.TraceQueryEnd(ctx, conn.Conn(), pgx.TraceQueryEndData{CommandTag: result.CommandTag, Err: err})
	}
	if err != nil {
		return nil, d.classify(ctx, err)
	}
	return result, nil
}

// send returns the last result of a message. The result is never nil.
func send(ctx context.Context, conn *pgconn.PgConn, message string) (*pgconn.Result, error) {
	results, err := conn.Exec(ctx, message).ReadAll()
	if len(results) == 0 {
		return &pgconn.Result{}, err
	}
	return results[len(results)-1], err
}

// render replaces @ by the schema and $1, $2, … by literals. Text and bytes that are not plain become hexadecimal digits. These do not
// depend on standard_conforming_strings and client_encoding, and cannot end a literal.
func render(schema, statements string, args ...any) string {
	pairs := []string{"@", pgx.Identifier{schema}.Sanitize()}
	for i, arg := range args {
		pairs = append(pairs, "$"+strconv.Itoa(i+1), literal(arg))
	}
	return strings.NewReplacer(pairs...).Replace(statements)
}

func literal(arg any) string {
	switch v := arg.(type) {
	case string:
		if plain(v) {
			return "'" + v + "'::text"
		}
		return "convert_from(decode('" + hex.EncodeToString([]byte(v)) + "','hex'),'UTF8')"
	case []byte:
		if plain(string(v)) {
			return "'" + string(v) + "'::bytea"
		}
		return "decode('" + hex.EncodeToString(v) + "','hex')"
	case []string:
		return array(v, "text")
	case []int64:
		return array(v, "bigint")
	default: // an integer or a bool
		return fmt.Sprint(v)
	}
}

func array[T any](values []T, of string) string {
	literals := make([]string, len(values))
	for i, v := range values {
		literals[i] = literal(v)
	}
	return "ARRAY[" + strings.Join(literals, ",") + "]::" + of + "[]"
}

// plain reports whether text is printable ASCII without quotes and backslashes.
func plain(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' || r == '\'' || r == '\\' })
}

// row decodes the fields of a single row: integers, bools and hexadecimal bytes. It returns false if there is no row.
func row(result *pgconn.Result, fields ...any) (bool, error) {
	if len(result.Rows) == 0 {
		return false, nil
	}
	for i, field := range fields {
		text := string(result.Rows[0][i])
		var err error
		switch to := field.(type) {
		case *int64:
			*to, err = strconv.ParseInt(text, 10, 64)
		case *bool:
			*to = text == "t"
		case *[]byte:
			*to, err = hex.DecodeString(text)
		}
		if err != nil {
			return false, fmt.Errorf("decode column %d: %w", i+1, err)
		}
	}
	return true, nil
}
