package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/middleware/oshttp"
	"github.com/go-os/go-os/telemetry"
)

// maxInFlight is the largest number of concurrent requests, in case the shop hangs.
const maxInFlight = 64

// load simulates the customers of the storefront. It sends a fixed mix of requests at a fixed rate.
type load struct {
	client *http.Client

	sent, succeeded, refused, failed, skipped atomic.Int64

	lost atomic.Int64 // of those that failed: requests that can be retried
}

// newLoad returns a load that finds the storefronts through a resolver.
func newLoad(finder *discovery.Resolver) (*load, error) {
	storefronts, err := oshttp.NewServices(finder, &oshttp.ServicesOptions{
		Names: []string{"storefront"}, Base: &http.Transport{MaxIdleConnsPerHost: maxInFlight}, Telemetry: telemetry.Off(),
	})
	if err != nil {
		return nil, err
	}
	return &load{client: &http.Client{Transport: storefronts}}, nil
}

// visit is one request of the mix.
type visit struct {
	method, path, body string
}

// repeatable reports whether the request can be retried. An order can not: it could be placed twice.
func (v visit) repeatable() bool { return v.method != http.MethodPost }

func page(id string) visit { return visit{http.MethodGet, "/products/" + id, ""} }

func buy(id string, quantity int, card string) visit {
	return visit{http.MethodPost, "/orders", fmt.Sprintf(`{"product":%q,"quantity":%d,"card":%q}`, id, quantity, card)}
}

// toCart, showCart and buyCart are the requests of a customer with a cart.
func toCart(customer, id string, quantity int) visit {
	return visit{http.MethodPut, "/carts/" + customer + "/" + id, fmt.Sprintf(`{"quantity":%d}`, quantity)}
}

func showCart(customer string) visit { return visit{http.MethodGet, "/carts/" + customer, ""} }

func buyCart(customer, card string) visit {
	return visit{http.MethodPost, "/carts/" + customer + "/order", fmt.Sprintf(`{"card":%q}`, card)}
}

// mix returns 44 visits, so that even a short run has every kind. Most show products and some place orders. One customer fills a cart
// first. One order waits for a review, one is refused, one visit requests an unknown product, and one triggers the bug in payments.
func mix() []visit {
	const good, refused, short = "4242424242424242", "4000000000000002", "42"
	var visits []visit
	for range 5 {
		visits = append(visits, page("lamp"), page("chair"), buy("lamp", 2, good), page("desk"), page("lamp"), page("chair"), buy("chair", 1, good))
	}
	visits = append(visits, buy("desk", 1, good), buy("chair", 2, refused), page("unicorn"), buy("lamp", 1, short), page("desk"))
	return append(visits, toCart("ann", "lamp", 1), toCart("ann", "lamp", 2), showCart("ann"), buyCart("ann", good))
}

// run sends requests at the given rate per second until ctx ends. It returns when all of them have ended.
func (l *load) run(ctx context.Context, rate float64) {
	if rate <= 0 {
		return
	}
	ticker := time.NewTicker(time.Duration(min(float64(time.Second)/rate, float64(math.MaxInt64/2))))
	defer ticker.Stop()
	var flying sync.WaitGroup
	defer flying.Wait()
	slots, visits := make(chan struct{}, maxInFlight), mix()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		select {
		case slots <- struct{}{}:
		default:
			l.skipped.Add(1)
			continue
		}
		flying.Go(func() {
			defer func() { <-slots }()
			l.visit(context.WithoutCancel(ctx), visits[i*7%len(visits)]) // 7 spreads the kinds evenly over the mix
		})
	}
}

func (l *load) visit(ctx context.Context, v visit) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	l.sent.Add(1)
	status, err := l.send(ctx, v)
	switch {
	case err != nil || status >= 500:
		l.failed.Add(1)
		if v.repeatable() {
			l.lost.Add(1)
		}
	case status >= 400:
		l.refused.Add(1)
	default:
		l.succeeded.Add(1)
	}
}

// send sends a request and returns the status of the response.
func (l *load) send(ctx context.Context, v visit) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, v.method, "http://storefront"+v.path, strings.NewReader(v.body))
	if err != nil {
		return 0, err
	}
	if v.repeatable() && v.method != http.MethodGet {
		req.Header.Set("Idempotency-Key", rand.Text()) // the transport then retries it like a GET
	}
	resp, err := l.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

func (l *load) String() string {
	s := fmt.Sprintf("%d requests: %d ok, %d refused, %d failed", l.sent.Load(), l.succeeded.Load(), l.refused.Load(), l.failed.Load())
	if n := l.skipped.Load(); n > 0 {
		s += fmt.Sprintf(", %d not sent: %d were under way", n, maxInFlight)
	}
	return s
}
