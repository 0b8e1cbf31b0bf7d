package storefront

import (
	"context"
	"errors"
	"net"

	"github.com/go-os/go-os/control/router"
)

// ledger calls a service of a protocol of its own: a line each way on a new connection.
type ledger struct{ service *router.Service }

func newLedger(r *router.Router) *ledger { return &ledger{r.Service("ledger", "tcp")} }

// balance returns the balance of an account. It may be asked for twice.
func (l *ledger) balance(ctx context.Context, account string) (string, error) {
	request := router.Request{Method: "balance", Key: account, Idempotent: true}
	answer, outcome := router.Do(ctx, l.service, request, func(ctx context.Context, a *router.Attempt) (string, router.Outcome) {
		pick, err := a.Pick(ctx)
		if err != nil {
			return "", router.Outcome{Kind: router.Neutral, Err: err, Final: true} // nothing to repeat
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", pick.Address())
		if err != nil {
			return "", failed(ctx, err, true)
		}
		defer conn.Close()
		answer, err := exchange(ctx, conn, "balance "+account)
		if err != nil {
			return "", failed(ctx, err, false)
		}
		return answer, router.Outcome{}
	}, nil)
	return answer, outcome.Err
}

// failed returns the outcome of an attempt without an answer.
func failed(ctx context.Context, err error, unsent bool) router.Outcome {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return router.Outcome{Kind: router.Neutral, Err: err}
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return router.Outcome{Kind: router.Timeout, Err: err}
	}
	return router.Outcome{Kind: router.GatewayFault, Err: err, Unsent: unsent}
}
