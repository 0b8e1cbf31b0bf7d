package redissync

import (
	"context"
	"time"

	"github.com/redis/rueidis"
)

// closeWait is how long the end of a connection is waited for. The client takes leave of an engine before it closes a connection, and waits
// for its own timeouts, of ten seconds and more, if the engine does not answer.
const closeWait = 50 * time.Millisecond

// listen hears messages on a connection of its own. It returns soon after its context has ended, whether the engine answers or not.
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

// subscribe is listen, but may wait for the client's own timeouts: neither making nor ending a connection heeds the context.
func (d *Driver) subscribe(ctx context.Context, connected func(), notify func(message string)) error {
	client, release := d.client.Dedicate()
	defer release()
	defer client.Close() // or release would have the engine end the subscription
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
