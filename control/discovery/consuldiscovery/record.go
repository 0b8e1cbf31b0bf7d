package consuldiscovery

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/consul/api"

	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/internal/sanitize"
)

// The keys of the service meta. Consul accepts 64 keys, with values of 512 bytes.
const (
	metaID          = "goos_id"
	metaIncarnation = "goos_incarnation"
	metaEpoch       = "goos_epoch"
	metaState       = "goos_state"
	metaRevision    = "goos_revision"
	metaRecord      = "goos_record_" // followed by the number of the part, in two digits
	metaVersion     = "version"      // a copy, for people
	metaZone        = "zone"         // a copy, for people

	maxValue = 512
	maxParts = 56
	// MaxRecord is the length of the longest record: the JSON of its version, zone, weight, addresses and labels, in bytes.
	MaxRecord = maxParts * (maxValue - utf8.UTFMax)
)

// body is the joined content of the parts of a record. Every service of an instance has all of it, so any one of them suffices.
type body struct {
	Version   string            `json:"version,omitempty"`
	Zone      string            `json:"zone,omitempty"`
	Weight    int               `json:"weight"`
	Addresses map[string]string `json:"addresses"`
	Labels    map[string]string `json:"labels,omitempty"`
}

var states = map[string]driver.State{
	driver.Up.String(): driver.Up, driver.Unhealthy.String(): driver.Unhealthy, driver.Draining.String(): driver.Draining,
	driver.Gone.String(): driver.Gone,
}

// forever is the TTL of a check that nothing renews.
const forever = 10 * 365 * 24 * time.Hour

// serviceID returns the name of an instance's service in Consul. It contains the incarnation, so a process cannot write or remove the
// record of another one. No name of an instance contains "~". Consul ignores the case of service IDs, so names with capitals get a hash.
func serviceID(r driver.Record, protocol string) string {
	name := prefix(r) + protocol
	if name != strings.ToLower(name) {
		hash := fnv.New64a()
		_, _ = hash.Write([]byte(name))
		name += fmt.Sprintf("~%016x", hash.Sum64())
	}
	return name + suffix(r)
}

// prefix and suffix enclose the service IDs of a record.
func prefix(r driver.Record) string { return r.Service + "~" + r.ID + "~" }
func suffix(r driver.Record) string { return "~" + r.Incarnation }

func leaseCheck(service string) string { return service + "~lease" }

func stateCheck(service string, s driver.State) string { return service + "~" + s.String() }

// services returns the registrations of a record, one a protocol, ordered by protocol. They have no checks.
func services(r driver.Record) ([]*api.AgentServiceRegistration, error) {
	meta, err := encode(r)
	if err != nil {
		return nil, err
	}
	var all []*api.AgentServiceRegistration
	for _, protocol := range slices.Sorted(maps.Keys(r.Addresses)) {
		host, port, err := net.SplitHostPort(r.Addresses[protocol])
		if err != nil {
			return nil, driver.Classify(driver.ErrInvalid, err)
		}
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, driver.Classify(driver.ErrInvalid, err)
		}
		all = append(all, &api.AgentServiceRegistration{
			ID: serviceID(r, protocol), Name: r.Service, Tags: []string{protocol}, Address: host, Port: int(number), Meta: maps.Clone(meta),
			Weights: &api.AgentWeights{Passing: min(max(r.Weight, 1), 65535), Warning: 1},
		})
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: instance %q has no address", driver.ErrInvalid, r.ID)
	}
	return all, nil
}

// encode returns the meta of a record.
func encode(r driver.Record) (map[string]string, error) {
	data, err := json.Marshal(body{Version: r.Version, Zone: r.Zone, Weight: r.Weight, Addresses: r.Addresses, Labels: r.Labels})
	if err != nil {
		return nil, driver.Classify(driver.ErrInvalid, err)
	}
	if len(data) > MaxRecord {
		return nil, fmt.Errorf("%w: the record of instance %q has %d bytes: use %d at most", driver.ErrTooLarge, r.ID, len(data), MaxRecord)
	}
	meta := map[string]string{
		metaID: r.ID, metaIncarnation: r.Incarnation, metaEpoch: strconv.FormatUint(r.Epoch, 10), metaState: r.State.String(),
	}
	for n, part := range split(string(data)) {
		meta[fmt.Sprintf("%s%02d", metaRecord, n)] = part
	}
	for key, text := range map[string]string{metaVersion: r.Version, metaZone: r.Zone} {
		if text != "" && len(text) <= maxValue {
			meta[key] = text
		}
	}
	return meta, nil
}

// split cuts a text into values for the meta, between runes: the client sends them as JSON, which cannot encode half a rune.
func split(text string) (parts []string) {
	for len(text) > maxValue {
		end := maxValue
		for !utf8.RuneStart(text[end]) {
			end--
		}
		parts, text = append(parts, text[:end]), text[end:]
	}
	return append(parts, text)
}

// decode returns the record of a service that has metaID, and the number of its write.
func decode(s *api.AgentService) (r driver.Record, revision uint64, err error) {
	r.Service, r.ID, r.Incarnation = s.Service, s.Meta[metaID], s.Meta[metaIncarnation]
	state, known := states[s.Meta[metaState]]
	r.State = state
	var text strings.Builder
	for n := range maxParts {
		text.WriteString(s.Meta[fmt.Sprintf("%s%02d", metaRecord, n)])
	}
	var b body
	epoch, badEpoch := strconv.ParseUint(s.Meta[metaEpoch], 10, 64)
	revision, badRevision := strconv.ParseUint(s.Meta[metaRevision], 10, 64)
	badBody := json.Unmarshal([]byte(text.String()), &b)
	switch {
	case r.Incarnation == "":
		err = fmt.Errorf("%w: meta %s is missing", driver.ErrInvalid, metaIncarnation)
	case !known:
		err = fmt.Errorf("%w: meta %s is %q: want up, unhealthy, draining or gone", driver.ErrInvalid, metaState, s.Meta[metaState])
	case epoch >= driver.MaxEpoch:
		err = fmt.Errorf("%w: meta %s: %d: use less than %d", driver.ErrInvalid, metaEpoch, epoch, uint64(driver.MaxEpoch))
	case badEpoch != nil:
		err = fmt.Errorf("%w: meta %s: %w", driver.ErrInvalid, metaEpoch, badEpoch)
	case badRevision != nil:
		err = fmt.Errorf("%w: meta %s: %w", driver.ErrInvalid, metaRevision, badRevision)
	case badBody != nil: // its text, and the error itself, may repeat a part of the record
		err = fmt.Errorf("%w: meta %s: %s", driver.ErrInvalid, metaRecord, sanitize.Text(badBody.Error(), 256))
	case len(b.Addresses) == 0:
		err = fmt.Errorf("%w: no addresses", driver.ErrInvalid)
	}
	r.Epoch, r.Version, r.Zone, r.Weight, r.Addresses, r.Labels = epoch, b.Version, b.Zone, b.Weight, b.Addresses, b.Labels
	return r, revision, err
}

// entry is a service of Consul's catalog.
type entry struct {
	*api.ServiceEntry
	record   driver.Record
	revision uint64 // numbers the writes of a process
	ended    bool   // the lease has ended
	left     bool   // at an agent that the lease has moved away from
	err      error  // why it is not a record
}

// place is where a service is in Consul. Service IDs are unique on a node.
func place(e *api.ServiceEntry) string { return e.Node.Node + "/" + e.Service.ID }

// read returns the entry of a service, whether or not package discovery has registered it.
func read(e *api.ServiceEntry, protocol string) entry {
	if e.Service.Meta[metaID] == "" {
		return foreign(e, protocol)
	}
	out := entry{ServiceEntry: e}
	if out.record, out.revision, out.err = decode(e.Service); out.err != nil {
		return out
	}
	out.ended = true // without its check, nothing ends it
	observed := driver.Up
	for _, check := range e.Checks {
		switch {
		case check.CheckID == leaseCheck(e.Service.ID):
			out.ended = check.Status == api.HealthCritical
		case strings.HasPrefix(check.CheckID, e.Service.ID+"~"): // metaState has it
		default:
			observed = max(observed, judge(check))
		}
	}
	out.ended = out.ended || agentLost(e.Checks)
	out.record.State = max(out.record.State, observed)
	return out
}

// lives reports whether an entry belongs to a running process.
func (e entry) lives() bool { return e.err == nil && !e.ended && e.record.State != driver.Gone }

// agentLost reports whether the agent of a node has died or left, by the node's checks. Its services' TTLs then never expire
// (hashicorp/consul#258). An agent that leaves may bring services back after Consul has removed its node, which has no check of the agent
// then.
func agentLost(checks api.HealthChecks) bool {
	at := slices.IndexFunc(checks, func(c *api.HealthCheck) bool { return c.CheckID == "serfHealth" })
	return at < 0 || checks[at].Status == api.HealthCritical
}

// judge returns the state of an instance according to another program's check.
func judge(check *api.HealthCheck) driver.State {
	switch {
	case check.CheckID == api.NodeMaint, strings.HasPrefix(check.CheckID, api.ServiceMaintPrefix):
		return driver.Draining
	case check.Status == api.HealthCritical:
		return driver.Unhealthy
	default:
		return driver.Up
	}
}

// foreign returns the entry of a service registered by another program.
func foreign(e *api.ServiceEntry, protocol string) entry {
	out := entry{ServiceEntry: e}
	host := e.Service.Address
	if host == "" {
		host = e.Node.Address
	}
	out.record.Instance = driver.Instance{
		Service: e.Service.Service, ID: place(e), Version: e.Service.Meta[metaVersion], Zone: e.Service.Meta[metaZone],
		Addresses: map[string]string{protocol: net.JoinHostPort(host, strconv.Itoa(e.Service.Port))},
		Weight:    e.Service.Weights.Passing, Labels: labels(e.Service),
	}
	if host == "" || e.Service.Port == 0 {
		out.err = fmt.Errorf("%w: the service has no address or no port", driver.ErrInvalid)
	}
	for _, check := range e.Checks {
		out.record.State = max(out.record.State, judge(check))
		if check.Status == api.HealthWarning {
			out.record.Weight = e.Service.Weights.Warning
		}
	}
	return out
}

// labels returns the meta of a service, and its tags as labels without a value.
func labels(s *api.AgentService) map[string]string {
	if len(s.Meta)+len(s.Tags) == 0 {
		return nil
	}
	all := make(map[string]string, len(s.Meta)+len(s.Tags))
	for _, tag := range s.Tags {
		all[tag] = ""
	}
	maps.Copy(all, s.Meta)
	return all
}

// better reports whether a is the record of an ID rather than b. A running process takes precedence over a goodbye, and a later start over
// an earlier one.
func better(a, b entry) bool {
	switch goneA, goneB := a.record.State == driver.Gone, b.record.State == driver.Gone; {
	case a.record.Incarnation == b.record.Incarnation:
		return a.revision > b.revision
	case goneA != goneB:
		return goneB
	case a.record.Epoch != b.record.Epoch:
		return a.record.Epoch > b.record.Epoch
	default:
		return a.record.Incarnation > b.record.Incarnation
	}
}
