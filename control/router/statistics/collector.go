package statistics

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/go-os/go-os/internal/backoff"
	"github.com/go-os/go-os/internal/defaults"
	"github.com/go-os/go-os/internal/delivery"
	"github.com/go-os/go-os/internal/fault"
	"github.com/go-os/go-os/internal/life"
	"github.com/go-os/go-os/internal/sanitize"
)

// The defaults of Options.
const (
	DefaultInterval = 10 * time.Second
	DefaultTimeout  = 5 * time.Second
	DefaultRows     = 1000
)

// longestWait bounds the wait after failures, in intervals.
const longestWait = 6

// Publisher sends reports to their consumer.
type Publisher interface {
	// Publish sends a report. After an error the report may or may not have arrived, and is published again. The errors fault.Invalid and
	// fault.TooLarge mean that the consumer takes no such report, and has not taken this one in an earlier attempt: its counts become part of
	// later reports, which are smaller after fault.TooLarge. Publish must not change the report.
	Publish(ctx context.Context, r Report) error
}

// Options of a Collector. Nil and the zero value work.
type Options struct {
	// Client names the process in reports. Default: none; Report.Run identifies it.
	Client string
	// Interval between reports of a service. A tenth of it is random, so that processes do not publish at the same time. Default:
	// DefaultInterval.
	Interval time.Duration
	// Timeout limits one call of Publish. Default: DefaultTimeout.
	Timeout time.Duration
	// Rows is how many methods of endpoints a report has at most. A service with more makes several reports. Default: DefaultRows.
	Rows int
}

func (o *Options) withDefaults() (Options, error) {
	all := defaults.Copy(o)
	all.Client = sanitize.Text(all.Client, maxText)
	return all, cmp.Or(
		defaults.Fill("statistics.Options.Interval", &all.Interval, DefaultInterval),
		defaults.Fill("statistics.Options.Timeout", &all.Timeout, DefaultTimeout),
		defaults.Fill("statistics.Options.Rows", &all.Rows, DefaultRows),
	)
}

// Collector publishes the counts of services. Its goroutine starts with the first Service, and ends with Shutdown. It is safe for concurrent
// use.
type Collector struct {
	publisher Publisher // nil: nothing is published
	opts      Options
	run       string
	ledger    *delivery.Ledger // of reports
	life      life.Life
	done      chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	started bool
	feeds   []*feed
}

// feed is a service with the reports that may not have arrived. Only the goroutine changes it, and Shutdown after its end.
type feed struct {
	*Service
	limit    int // rows of a report
	sequence uint64
	pending  []Report
}

// NewCollector returns a Collector. Without a publisher it only counts. It returns fault.Invalid for a negative option.
func NewCollector(p Publisher, opts *Options) (*Collector, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	ledger := delivery.NewLedger(&delivery.LedgerOptions{Subject: "statistics reports", Classify: fault.Type})
	return &Collector{publisher: p, opts: o, run: rand.Text(), ledger: ledger, done: make(chan struct{})}, nil
}

// Service returns the counts of a service: the same ones for the same name and protocol.
func (c *Collector) Service(name, protocol string) *Service {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.feeds {
		if f.name == name && f.protocol == protocol {
			return f.Service
		}
	}
	f := &feed{Service: newService(name, protocol, time.Now()), limit: c.opts.Rows}
	c.feeds = append(c.feeds, f)
	if c.publisher != nil && !c.started && c.life.Err() == nil {
		c.started = true
		go c.loop()
	}
	return f.Service
}

// Account returns the account of the reports that have arrived or are lost, and the state of the publisher: its failures in a row, and the
// last error.
func (c *Collector) Account() delivery.Account { return c.ledger.Read() }

// Shutdown ends the goroutine, and tries once to publish what is left. It returns an error with the number of reports that are lost. A second
// Shutdown does nothing. Requests can be recorded afterwards, but are not published.
func (c *Collector) Shutdown(ctx context.Context) error {
	if !c.life.End() || c.publisher == nil {
		return nil
	}
	c.mu.Lock()
	running := c.started
	c.mu.Unlock()
	if running && !delivery.Await(ctx, c.done, delivery.Grace) {
		return delivery.OutOfTime(ctx)
	}
	mark := c.ledger.Mark()
	if err := c.publish(ctx); err != nil {
		c.abandon(err)
	}
	return c.ledger.LossSince(mark)
}

// loop publishes until Shutdown. The first wait is random, because processes that start together must not publish together.
func (c *Collector) loop() {
	defer close(c.done)
	ctx, cancel := c.life.Within(context.Background())
	defer cancel()
	failures := backoff.Backoff{First: c.opts.Interval, Longest: longestWait * c.opts.Interval}
	wait := backoff.Jitter(c.opts.Interval, 1)
	for backoff.Sleep(ctx, wait) == nil {
		if c.publish(ctx) == nil {
			failures.Reset()
			wait = backoff.Jitter(c.opts.Interval, 0.1)
		} else {
			wait = failures.Next()
		}
	}
}

// publish makes one round: it publishes the pending reports of each service, and then its new ones. A service whose report is refused does
// not keep the others from publishing. A consumer that does not answer ends the round.
func (c *Collector) publish(ctx context.Context) (refused error) {
	for _, f := range c.all() {
		err := c.publishService(ctx, f)
		if err != nil && !isRefused(err) {
			return err
		}
		refused = cmp.Or(refused, err)
	}
	return refused
}

func (c *Collector) all() []*feed {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.feeds)
}

func isRefused(err error) bool {
	return errors.Is(err, fault.Invalid) || errors.Is(err, fault.TooLarge)
}

func (c *Collector) publishService(ctx context.Context, f *feed) error {
	if err := c.publishPending(ctx, f); err != nil {
		return err
	}
	for {
		f.pending = f.take(time.Now(), f.limit)
		for i := range f.pending {
			f.sequence++
			r := &f.pending[i]
			r.Client, r.Run, r.Sequence = c.opts.Client, c.run, f.sequence
		}
		err := c.publishPending(ctx, f)
		if !errors.Is(err, fault.TooLarge) || f.limit == 1 {
			return err
		}
		f.limit /= 2
	}
}

// publishPending publishes the pending reports in their order, until one fails. If the consumer refuses one, the counts of all become part of
// later reports.
func (c *Collector) publishPending(ctx context.Context, f *feed) error {
	for len(f.pending) > 0 {
		err := c.send(ctx, f.pending[0])
		if isRefused(err) {
			for i := range f.pending {
				f.restore(&f.pending[i])
			}
			f.pending = nil
		}
		if err != nil {
			return err
		}
		c.settle(1, nil)
		f.pending = f.pending[1:]
	}
	return nil
}

// send makes one attempt.
func (c *Collector) send(ctx context.Context, r Report) (err error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			err = &delivery.PanicError{Value: v}
		}
		if err == nil {
			c.ledger.Answered(nil)
		} else {
			c.ledger.Failed(err)
		}
	}()
	return c.publisher.Publish(ctx, r)
}

// settle records n reports that have arrived, or are lost because of err.
func (c *Collector) settle(n int, err error) {
	lost := 0
	if err != nil {
		lost = n
	}
	c.ledger.Begin(int64(n))
	c.ledger.Settle(int64(n), int64(lost), err)
}

// abandon drops what could not be published.
func (c *Collector) abandon(err error) {
	for _, f := range c.all() {
		if n := len(f.pending) + len(f.take(time.Now(), f.limit)); n > 0 {
			c.settle(n, err)
		}
		f.pending = nil
	}
}
