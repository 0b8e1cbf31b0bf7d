package delivery_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-os/go-os/internal/delivery"
)

// Example sends to an event bus that is unreachable at first. The sender collects events, retries a batch that fails, and accounts for each
// event.
func Example() {
	var away = true
	publish := func(_ context.Context, batch []string) error {
		if away {
			away = false
			return errors.New("connection refused")
		}
		fmt.Println("published", batch)
		return nil
	}
	ledger := delivery.NewLedger(&delivery.LedgerOptions{Subject: "events to the bus"})
	sender := delivery.NewSender(ledger, publish, &delivery.SenderOptions{
		Queue: delivery.QueueOptions{Limits: delivery.Limits{Items: 3}},
		Retry: &delivery.Retry{First: 1, Longest: 1},
	})
	for _, event := range []string{"created", "paid", "shipped", "returned"} {
		if reason := sender.Push(event, int64(len(event))); reason != delivery.Accepted {
			fmt.Println(event, "is dropped:", reason)
		}
	}
	sender.Start()
	if err := sender.Flush(context.Background()); err != nil {
		fmt.Println(err)
	}
	if err := sender.Shutdown(context.Background()); err != nil {
		fmt.Println(err)
	}
	account := ledger.Read()
	fmt.Println(account.Emitted, "emitted,", account.Delivered, "delivered,", account.Dropped(), "dropped; last error:", account.LastErr)
	// Output:
	// returned is dropped: queue_full
	// published [created paid shipped]
	// 4 emitted, 3 delivered, 1 dropped; last error: connection refused
}
