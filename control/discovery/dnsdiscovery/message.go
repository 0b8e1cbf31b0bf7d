package dnsdiscovery

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/go-os/go-os/control/discovery/driver"
)

// question is a question for the records of a name. The name is in lower case and ends with a dot.
type question struct {
	name string
	kind dnsmessage.Type
}

// String names the question in errors.
func (q question) String() string { return q.name + " " + strings.TrimPrefix(q.kind.String(), "Type") }

// maxUDP is the size of the largest answer over UDP. It is not fragmented on the Internet (DNS flag day 2020).
const maxUDP = 1232

// pack returns the message of a question, with EDNS(0) or without it.
func (q question) pack(id uint16, edns bool) ([]byte, error) {
	name, err := dnsmessage.NewName(q.name)
	if err != nil {
		return nil, err
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: q.kind, Class: dnsmessage.ClassINET}},
	}
	if edns {
		var h dnsmessage.ResourceHeader
		if err := h.SetEDNS0(maxUDP, dnsmessage.RCodeSuccess, false); err != nil {
			return nil, err
		}
		m.Additionals = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.OPTResource{}}}
	}
	return m.Pack()
}

// answer is a server's answer to a question.
type answer struct {
	services  []service
	addresses []netip.Addr
	ttl       time.Duration // the shortest of the records

	missing    bool   // the name does not exist
	alias      string // the name that a chain of CNAMEs leads to, if its records are not in the answer
	truncated  bool
	code       dnsmessage.RCode
	additional []dnsmessage.Resource
}

// service is an SRV record.
type service struct {
	target                 string
	port, priority, weight int
}

// available reports whether the record names an instance. The target "." and the port 0 mean that there is none.
func (s service) available() bool { return s.target != "." && s.port != 0 }

func (s service) compare(other service) int {
	return cmp.Or(
		cmp.Compare(s.priority, other.priority), cmp.Compare(other.weight, s.weight),
		strings.Compare(s.target, other.target), cmp.Compare(s.port, other.port),
	)
}

// none reports whether the answer has no records.
func (a *answer) none() bool { return len(a.services)+len(a.addresses) == 0 }

// absence returns the reason why the answer has no records.
func (a *answer) absence() string {
	if a.missing {
		return "the name does not exist (NXDOMAIN)"
	}
	return "the name has no such records"
}

var (
	errForeign = errors.New("not the answer to this question")
	errLame    = errors.New("the server knows nothing of the name, and asks nobody else")
)

// parse returns the answer in a message. It returns errForeign for a message that answers another question, and another error for one that is
// malformed.
func parse(message []byte, id uint16, q question) (answer, error) {
	var p dnsmessage.Parser
	h, err := p.Start(message)
	if err != nil {
		return answer{}, err
	}
	asked, err := p.Question()
	if err != nil {
		return answer{}, err
	}
	if h.ID != id || !h.Response || fold(asked.Name) != q.name || asked.Type != q.kind || asked.Class != dnsmessage.ClassINET {
		return answer{}, errForeign
	}
	a := answer{code: h.RCode, truncated: h.Truncated}
	if h.Truncated {
		return a, nil // what remains of it may be cut anywhere
	}
	var m dnsmessage.Message
	if err := m.Unpack(message); err != nil {
		return answer{}, err
	}
	a.read(q, m)
	if a.code == dnsmessage.RCodeSuccess && len(m.Answers) == 0 && !h.Authoritative && !h.RecursionAvailable {
		return answer{}, errLame
	}
	return a, nil
}

// read takes the records of a message that answer the question.
func (a *answer) read(q question, m dnsmessage.Message) {
	a.missing = a.code == dnsmessage.RCodeNameError
	a.additional = m.Additionals
	end := a.collect(q, m.Answers)
	switch {
	case !a.none():
	case end != q.name && !a.missing:
		a.alias = end
	default:
		a.ttl = negativeTTL(m.Authorities)
	}
}

// maxAliases is the length of the longest chain of CNAMEs.
const maxAliases = 8

// collect follows the CNAMEs of an answer, takes the records at their end, and returns its name.
func (a *answer) collect(q question, records []dnsmessage.Resource) string {
	name, shortest := q.name, lifetime{}
	for range maxAliases {
		next := ""
		for _, r := range records {
			if fold(r.Header.Name) != name || r.Header.Class != dnsmessage.ClassINET {
				continue
			}
			if alias, ok := r.Body.(*dnsmessage.CNAMEResource); ok {
				next = fold(alias.CNAME)
				shortest.add(r.Header.TTL)
			} else if r.Header.Type == q.kind {
				a.add(r)
				shortest.add(r.Header.TTL)
			}
		}
		if next == "" || !a.none() {
			break
		}
		name = next
	}
	a.ttl = shortest.ttl
	return name
}

// lifetime finds the shortest TTL.
type lifetime struct {
	ttl time.Duration
	any bool
}

func (n *lifetime) add(seconds uint32) {
	ttl := time.Duration(seconds) * time.Second
	if seconds > 1<<31-1 { // RFC 2181, section 8
		ttl = 0
	}
	if !n.any || ttl < n.ttl {
		n.ttl, n.any = ttl, true
	}
}

// add takes a record. Duplicates do no harm.
func (a *answer) add(r dnsmessage.Resource) {
	switch body := r.Body.(type) {
	case *dnsmessage.SRVResource:
		s := service{target: fold(body.Target), port: int(body.Port), priority: int(body.Priority), weight: int(body.Weight)}
		a.services = append(a.services, s)
	case *dnsmessage.AResource:
		a.addresses = append(a.addresses, netip.AddrFrom4(body.A))
	case *dnsmessage.AAAAResource:
		a.addresses = append(a.addresses, netip.AddrFrom16(body.AAAA).Unmap())
	}
}

// extra returns the addresses of an SRV target in the additional section of the answer.
func (a *answer) extra(target string, kind dnsmessage.Type) (out answer) {
	out.collect(question{name: target, kind: kind}, a.additional)
	return out
}

// negativeTTL returns how long an answer without records is valid (RFC 2308, section 5).
func negativeTTL(authorities []dnsmessage.Resource) time.Duration {
	for _, r := range authorities {
		if soa, ok := r.Body.(*dnsmessage.SOAResource); ok {
			return time.Duration(min(soa.MinTTL, r.Header.TTL)) * time.Second
		}
	}
	return 0
}

// fold returns a name in lower case.
func fold(n dnsmessage.Name) string { return strings.ToLower(n.String()) }

// checkDomainName returns nil if a name, which ends with a dot, can be in a question.
func checkDomainName(name string) error {
	const longest = 254
	if len(name) > longest {
		return fmt.Errorf("%w: the DNS name has %d bytes: use %d at most", driver.ErrInvalid, len(name), longest)
	}
	if _, err := (question{name: name, kind: dnsmessage.TypeSRV}).pack(0, false); err != nil {
		return fmt.Errorf("%w: %q is not a DNS name: %w", driver.ErrInvalid, name, err)
	}
	return nil
}

// checkHost returns nil if the target of an SRV record is a valid host of an instance.
func checkHost(target string) error {
	for _, r := range target {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
		default:
			return fmt.Errorf("%w: the target %q is not the name of a host", driver.ErrInvalid, target)
		}
	}
	return nil
}
