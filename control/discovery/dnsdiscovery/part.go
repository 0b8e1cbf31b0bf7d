package dnsdiscovery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/internal/backoff"
)

// round is the state shared by the questions of one moment.
type round struct {
	*client
	opts    *Options
	servers []string
	err     error // why there are no servers
}

func (r *Registry) round() *round {
	servers, err := r.opts.servers()
	return &round{client: r.client, opts: &r.opts, servers: servers, err: err}
}

// ask queries the records of a name.
func (r *round) ask(ctx context.Context, name string, kind dnsmessage.Type) (answer, error) {
	if r.err != nil {
		return answer{}, r.err
	}
	return r.client.ask(ctx, r.servers, question{name: name, kind: kind})
}

// addresses queries the addresses of a name.
func (r *round) addresses(ctx context.Context, name string) (a answer, err error) {
	for _, kind := range kinds[r.opts.Network] {
		a, err = r.ask(ctx, name, kind)
		if err != nil || len(a.addresses) > 0 || a.missing {
			return a, err
		}
	}
	return a, nil
}

// cached is the last answer to a question.
type cached struct {
	answer answer
	due    time.Time // time of the next question
	err    error     // why the last question has failed, or why its answer is not believed yet
	empty  time.Time // since when the name has no records although it had some; zero if it has some
	gone   bool      // it has had none for Options.Keep

	asking   bool // the question is under way
	failures int  // since the last answer
}

// unanswered reports whether the question has not been answered yet, not even by an error.
func (c *cached) unanswered() bool { return c.due.IsZero() }

// take keeps the outcome of a question. Only an answer with records replaces one with records, until Keep has passed.
func (c *cached) take(o *Options, name string, a answer, err error) {
	now := time.Now()
	if c.err = err; err != nil {
		c.due = now.Add(backoff.Jitter(o.MinTTL, 0.5))
		c.failures++
		return
	}
	c.failures = 0
	ttl := min(max(a.ttl, o.MinTTL), o.MaxTTL)
	c.due = now.Add(ttl + backoff.Jitter(ttl/10, 1))
	if !a.none() || c.answer.none() {
		c.answer, c.empty = a, time.Time{}
		c.gone = c.gone && a.none()
		return
	}
	if c.empty.IsZero() {
		c.empty = now
	}
	end := c.empty.Add(o.Keep)
	if now.Before(end) {
		c.err = fmt.Errorf("%w: dns: %s: %s: its instances stay for %s", driver.ErrUnavailable, name, a.absence(), o.Keep)
		if end.Before(c.due) {
			c.due = end
		}
		return
	}
	c.answer, c.gone = a, true
}

// part is a watch's state of one protocol.
type part struct {
	protocol string
	name     string
	port     int // zero: SRV records have it

	records cached
	hosts   map[string]*cached // the addresses of SRV targets
}

// all yields the questions.
func (p *part) all(yield func(*cached) bool) {
	if !yield(&p.records) {
		return
	}
	for _, host := range p.hosts {
		if !yield(host) {
			return
		}
	}
}

// refresh asks the questions that are due.
func (p *part) refresh(ctx context.Context, q *questions) {
	if p.port != 0 {
		q.ask(ctx, &p.records, func(ctx context.Context, r *round) (answer, error) { return r.addresses(ctx, p.name) }, p.take)
		return
	}
	q.ask(ctx, &p.records, func(ctx context.Context, r *round) (answer, error) { return r.ask(ctx, p.name, dnsmessage.TypeSRV) }, p.take)
	for target, host := range p.hosts {
		q.ask(ctx, host, func(ctx context.Context, r *round) (answer, error) { return r.addresses(ctx, target) },
			func(o *Options, a answer, err error) { host.takeTarget(o, target, a, err) })
	}
}

// take keeps the outcome of the question for the records. If it failed before, failed targets are due again, too.
func (p *part) take(o *Options, a answer, err error) {
	failed := p.records.err != nil
	p.records.take(o, p.name, a, err)
	if p.port != 0 {
		return
	}
	p.adopt(o, a)
	for _, host := range p.hosts {
		if failed && err == nil && host.err != nil {
			host.due = time.Now()
		}
	}
}

// takeTarget keeps the outcome of the question for the addresses of a target. One that fails repeatedly is queried less often, up to
// eight times less, since it may be one of many dead targets.
func (c *cached) takeTarget(o *Options, name string, a answer, err error) {
	c.take(o, name, a, err)
	if err != nil {
		c.due = time.Now().Add(backoff.Jitter(min(o.MinTTL<<min(c.failures-1, 3), o.MaxTTL), 0.5))
	}
}

// adopt replaces the hosts by the targets of the present SRV records, with the addresses of the additional section.
func (p *part) adopt(o *Options, a answer) {
	wanted := map[string]bool{}
	for _, s := range p.records.answer.services {
		if s.available() {
			wanted[s.target] = true
		}
	}
	maps.DeleteFunc(p.hosts, func(target string, _ *cached) bool { return !wanted[target] })
	for target := range wanted {
		if p.hosts[target] == nil {
			p.hosts[target] = &cached{}
		}
		if extra := a.extra(target, kinds[o.Network][0]); len(extra.addresses) > 0 {
			p.hosts[target].take(o, target, extra, nil)
		}
	}
}

// err returns why the part is out of reach. Targets that do not resolve are records of their own, unless all of them fail.
func (p *part) err() error {
	if p.records.err != nil {
		return p.records.err
	}
	var failed error
	for _, host := range p.hosts {
		if !host.answer.none() || host.err == nil {
			return nil
		}
		failed = host.err
	}
	return failed
}

// gone reports whether DNS has no instances: explicitly, or for as long as Options.Keep.
func (p *part) gone() bool {
	services := p.records.answer.services
	return p.records.gone || len(services) > 0 && !slices.ContainsFunc(services, service.available)
}

// endpoint is an instance of a part.
type endpoint struct {
	id      string
	address string // empty if it is not known, or not yet
	weight  int
	labels  map[string]string
	err     error // why the record cannot be used
}

// endpoints returns the present instances.
func (p *part) endpoints() []endpoint {
	if p.port == 0 {
		return p.targets()
	}
	var all []endpoint
	for _, ip := range p.records.answer.addresses {
		e := endpoint{id: ip.String(), weight: 1}
		e.address, e.err = join(ip, p.port)
		all = append(all, e)
	}
	return all
}

// join returns the address of a port.
func join(ip netip.Addr, port int) (string, error) {
	if ip.IsUnspecified() || ip.IsMulticast() {
		return "", fmt.Errorf("%w: address %s: not that of a host", driver.ErrInvalid, ip)
	}
	return netip.AddrPortFrom(ip, uint16(port)).String(), nil
}

// targets returns the instances that SRV records name.
func (p *part) targets() (all []endpoint) {
	services := slices.Clone(p.records.answer.services)
	slices.SortFunc(services, service.compare) // of duplicates, the one with the lowest priority and the largest weight counts
	lowest, seen := -1, map[string]bool{}
	for _, s := range services {
		id := strings.TrimSuffix(s.target, ".") + ":" + strconv.Itoa(s.port)
		if !s.available() || seen[id] {
			continue
		}
		seen[id] = true
		e := endpoint{id: id, labels: map[string]string{LabelPriority: strconv.Itoa(s.priority), LabelWeight: strconv.Itoa(s.weight)}}
		e.address, e.err = p.resolved(s)
		if lowest < 0 {
			lowest = s.priority
		}
		if s.priority == lowest {
			e.weight = max(s.weight, 1)
		}
		all = append(all, e)
	}
	return all
}

// resolved returns the address of an SRV record, or why it could not be queried.
func (p *part) resolved(s service) (string, error) {
	if err := checkHost(s.target); err != nil {
		return "", err
	}
	host := p.hosts[s.target]
	if host.unanswered() {
		return "", nil
	}
	err := host.err
	if err == nil && host.answer.none() {
		err = errors.New(host.answer.absence())
	}
	if err != nil {
		err = fmt.Errorf("%w: the target %s does not resolve: %w", driver.ErrInvalid, s.target, err)
	}
	if host.answer.none() {
		return "", err
	}
	address, unusable := join(slices.MinFunc(host.answer.addresses, netip.Addr.Compare), s.port)
	if unusable != nil {
		return "", unusable
	}
	return address, err
}
