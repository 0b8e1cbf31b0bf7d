package storefront

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"time"
)

// exchange sends a line and returns the line that answers it.
func exchange(ctx context.Context, conn net.Conn, line string) (string, error) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })
	defer stop()
	if _, err := fmt.Fprintln(conn, line); err != nil {
		return "", err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSuffix(answer, "\n"), err
}
