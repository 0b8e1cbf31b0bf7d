package redissync

import (
	"context"
	"time"

	"github.com/redis/rueidis"
)

// closeWait is how long listen waits for the client to close the connection. The client first ends the subscription, and waits for ten seconds
// or more if the engine does not answer.
const closeWait = 50 * time.Millisecond

// listen receives messages on a separate connection. It returns within closeWait of the end of its context, even if the engine does not
// answer.
func (d *Driver) listen(ctx context.Context, connected func(), notify func(message string)) error {
	ended := make(chan error, 1)
	go func() { ended <- d.subscribe(ctx, connected, notify) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
	return ctx.Err()
}

// subscribe is listen, but may take as long as the client's timeouts: the client ignores the context while it opens or closes a connection.
func (d *Driver) subscribe(ctx context.Context, connected func(), notify func(message string)) error {
	client, release := d.client.Dedicate()
	defer release()
	defer client.Close() // otherwise release waits for the engine to end the subscription
	lost := client.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage: func(m rueidis.PubSubMessage) { notify(m.Message) },
	})
	within, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := client.Do(cancelable{within}, client.B().Subscribe().Channel(d.channel()).Build()).Error(); err != nil {
		return err
	}
	connected()
	select {
	case err := <-lost:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
