// Package statistics counts the requests of a process by service, endpoint and method, and publishes the counts.
//
//	collector, err := statistics.NewCollector(publisher, nil)
//	orders := collector.Service("orders", "http")
//	endpoint := orders.Endpoint(statistics.Identity{ID: "orders-1", Address: "10.0.0.7:80"})
//	…
//	endpoint.Record(orders.Method("/orders/{id}"), statistics.Success, latency) // some 20 ns, no allocation
//	…
//	err = collector.Shutdown(ctx) // publishes the rest
//
// No count is lost while the process runs. A [Report] that may not have arrived is published again, with the same content and the same
// Sequence, before any later one of its service: a consumer that ignores a Sequence it has seen counts each request once. Meanwhile the
// counters run on, and the next report covers a longer time.
package statistics

import "time"

// Outcome is how a request ended, as the counts distinguish it.
type Outcome uint8

// The outcomes.
const (
	// Success: the endpoint answered.
	Success Outcome = iota
	// Fault: the endpoint, or the path to it, failed.
	Fault
	// Timeout: no answer in time.
	Timeout
	// Overload: the endpoint refused the request to protect itself.
	Overload
	// Dropped: the request ended without a verdict on the endpoint: the caller cancelled it, another attempt won, or the client rejected it.
	Dropped

	outcomes = iota
)

// sampled reports whether the latency of a request counts. That of failures does not: an endpoint that fails fast is not a fast endpoint.
func (o Outcome) sampled() bool { return o == Success || o == Timeout }

// Version is the version of the form of reports.
const Version = 1

// Report is what a process has counted for one service. It is complete in itself and mergeable with others.
type Report struct {
	// Version of the form: 1.
	Version int `json:"version"`
	// Client names the process.
	Client string `json:"client"`
	// Run identifies the start of the process: random.
	Run string `json:"run"`
	// Service and protocol of the requests.
	Service  string `json:"service"`
	Protocol string `json:"protocol"`
	// Sequence numbers the reports of a Client, Run, Service and Protocol, from 1. Reports arrive in this order, and perhaps several times.
	Sequence uint64 `json:"sequence"`
	// From and To limit the time of the counts. Parts of a large report have the same times.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Endpoints that had requests.
	Endpoints []EndpointReport `json:"endpoints,omitempty"`
	// Unrouted are the requests that got no endpoint. All are Dropped.
	Unrouted []MethodReport `json:"unrouted,omitempty"`
}

// Identity identifies an endpoint.
type Identity struct {
	// ID of the instance.
	ID string `json:"id"`
	// Address for the protocol.
	Address string `json:"address"`
	// Zone and Version of the instance. They may be empty.
	Zone    string `json:"zone,omitempty"`
	Version string `json:"version,omitempty"`
}

// EndpointReport has the counts of an endpoint.
type EndpointReport struct {
	Identity
	// Methods that had requests.
	Methods []MethodReport `json:"methods"`
}

// MethodReport has the counts of a method. Success + Error + Dropped is the number of requests.
type MethodReport struct {
	// Method is the caller's name for a kind of request, such as a route, or OtherMethod.
	Method string `json:"method"`
	// Success counts the requests that were answered.
	Success uint64 `json:"success"`
	// Error counts the requests that failed.
	Error uint64 `json:"error"`
	// Timeout and Overload count the errors that were timeouts, or that the endpoint refused to protect itself.
	Timeout  uint64 `json:"timeout,omitempty"`
	Overload uint64 `json:"overload,omitempty"`
	// Dropped counts the requests that ended without a verdict on the endpoint.
	Dropped uint64 `json:"dropped,omitempty"`
	// Latency of the answered requests, and the time that passed in those that timed out. Streams have none.
	Latency Digest `json:"latency,omitzero"`
}

// requests returns the number of requests.
func (m *MethodReport) requests() uint64 { return m.Success + m.Error + m.Dropped }

// Merge adds the counts of another report of the same method.
func (m *MethodReport) Merge(other *MethodReport) {
	m.Success += other.Success
	m.Error += other.Error
	m.Timeout += other.Timeout
	m.Overload += other.Overload
	m.Dropped += other.Dropped
	m.Latency.Merge(&other.Latency)
}

// Rows returns the number of methods of all endpoints, and of unrouted ones.
func (r *Report) Rows() int {
	rows := len(r.Unrouted)
	for i := range r.Endpoints {
		rows += len(r.Endpoints[i].Methods)
	}
	return rows
}
