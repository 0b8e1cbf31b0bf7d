package breaker

import (
	"cmp"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of BudgetConfig.
const (
	DefaultBudgetRatio        = 0.2
	DefaultBudgetMinPerSecond = 3.0
	DefaultBudgetWindow       = 10 * time.Second
)

// BudgetConfig configures a Budget.
type BudgetConfig struct {
	// Ratio is how many retries and hedges a request earns. Default: 0.2.
	Ratio float64
	// MinPerSecond is how many retries and hedges a second are allowed in addition, so that a client with few requests can retry. They may
	// be used at once: as many as fall into the window. Default: 3.
	MinPerSecond float64
	// Window is how far back requests earn retries. At least 10 ms. Default: 10 s.
	Window time.Duration
}

// Validate returns fault.Invalid if NewBudget would not take the configuration.
func (c BudgetConfig) Validate() error {
	_, err := c.withDefaults()
	return err
}

func (c BudgetConfig) withDefaults() (BudgetConfig, error) {
	return c, cmp.Or(
		finite("breaker.BudgetConfig.Ratio", &c.Ratio, DefaultBudgetRatio),
		finite("breaker.BudgetConfig.MinPerSecond", &c.MinPerSecond, DefaultBudgetMinPerSecond),
		length("breaker.BudgetConfig.Window", &c.Window, DefaultBudgetWindow),
	)
}

// Budget limits the retries and hedges of a service to a share of its requests. A withdrawal counts when the decision to retry is made, so
// retries that wait in their backoff are counted (envoyproxy/envoy#30205). In no span of time as long as the window are there more
// withdrawals than the requests in the window before the last of them have earned.
type Budget struct {
	settings atomic.Pointer[BudgetConfig]
	earned   *window
	refused  atomic.Int64

	mu    sync.Mutex // guards the withdrawing: the check and the count are one step
	spent *window    // longer than earned by one bucket, so that rounding never favours a retry
}

// What the windows of a Budget count, one each.
const kindOnly = 0

// NewBudget returns a Budget, or fault.Invalid.
func NewBudget(c BudgetConfig) (*Budget, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	b := &Budget{earned: newWindow(c.Window, buckets, 0), spent: newWindow(c.Window, buckets, 1)}
	b.settings.Store(&c)
	return b, nil
}

// SetConfig changes the configuration and keeps the counts.
func (b *Budget) SetConfig(now time.Duration, c BudgetConfig) error {
	c, err := c.withDefaults()
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settings.Store(&c)
	b.earned.resize(c.Window, buckets, now)
	b.spent.resize(c.Window, buckets, now)
	return nil
}

// Request counts a request. Its retries and hedges are not requests.
func (b *Budget) Request(now time.Duration) {
	b.earned.advance(now)
	b.earned.add(kindOnly, 1)
}

// Token is one withdrawal. The zero Token is worth nothing.
type Token struct {
	budget *Budget
	at     time.Duration
}

// Withdraw takes what one retry or hedge costs, before its backoff. False means that the budget is exhausted.
func (b *Budget) Withdraw(now time.Duration) (Token, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.earned.advance(now)
	b.spent.advance(now)
	if float64(b.spent.in(kindOnly)+1) > b.allowance(b.settings.Load()) {
		b.refused.Add(1)
		return Token{}, false
	}
	b.spent.add(kindOnly, 1)
	return Token{budget: b, at: now}, true
}

// Return gives back the price of a retry that was not made. The second call does nothing. Do not copy a Token that is returned.
func (t *Token) Return() {
	if b := t.budget; b != nil {
		t.budget = nil
		b.mu.Lock()
		defer b.mu.Unlock()
		b.spent.cancel(kindOnly, t.at) // past the window it has been given back already
	}
}

// allowance is how many withdrawals the window may hold.
func (b *Budget) allowance(c *BudgetConfig) float64 {
	return c.Ratio*float64(b.earned.in(kindOnly)) + c.MinPerSecond*c.Window.Seconds()
}

// BudgetCounts are the numbers behind a Budget.
type BudgetCounts struct {
	Requests, Withdrawn int64   // in the window
	Allowance           float64 // how many withdrawals the window may hold
	Refused             int64   // since NewBudget
}

// Counts returns the numbers behind the decisions.
func (b *Budget) Counts(now time.Duration) BudgetCounts {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.earned.advance(now)
	b.spent.advance(now)
	return BudgetCounts{
		Requests:  b.earned.in(kindOnly),
		Withdrawn: b.spent.in(kindOnly),
		Allowance: b.allowance(b.settings.Load()),
		Refused:   b.refused.Load(),
	}
}
