package dnsdiscovery

import (
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// FuzzParse: no message makes parse panic, and no answer has both kinds of records.
func FuzzParse(f *testing.F) {
	q := question{name: "orders.example.", kind: dnsmessage.TypeSRV}
	asked, err := q.pack(7, true)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(asked)
	name := dnsmessage.MustNewName(q.name)
	header := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 1 << 31}
	full := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, Response: true, Authoritative: true},
		Questions: []dnsmessage.Question{{Name: name, Type: q.kind, Class: dnsmessage.ClassINET}},
		Answers: []dnsmessage.Resource{
			{Header: header, Body: &dnsmessage.CNAMEResource{CNAME: name}},
			{Header: header, Body: &dnsmessage.SRVResource{Port: 9000, Target: name}},
		},
		Additionals: []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AResource{}}},
	}
	data, err := full.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:20])
	f.Fuzz(func(t *testing.T, message []byte) {
		a, err := parse(message, 7, q)
		if err == nil && (len(a.addresses) > 0 || a.ttl < 0 || a.truncated && !a.none()) {
			t.Errorf("%+v", a)
		}
	})
}
