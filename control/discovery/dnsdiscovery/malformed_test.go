package dnsdiscovery_test

import (
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/go-os/go-os/control/discovery/dnsdiscovery"
	"github.com/go-os/go-os/internal/tooling/testenv"
)

// reply is a responder's answer to a question, over "udp" or "tcp". It may change the message of the right answer.
type reply func(network string, question, answer dnsmessage.Message) [][]byte

// responder is a DNS server that answers as no real one does. The right answer is one address, 10.0.0.1.
type responder struct {
	t       *testing.T
	address string
	reply   atomic.Pointer[reply]
	silent  chan struct{} // closed at the end; TCP connections without an answer stay open until then
}

func newResponder(t *testing.T, first reply) *responder {
	t.Helper()
	r := &responder{t: t, silent: make(chan struct{})}
	r.reply.Store(&first)
	for { // a port that is free for both
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		r.address = listener.Addr().String()
		packets, err := net.ListenPacket("udp", r.address)
		if err != nil {
			_ = listener.Close()
			continue
		}
		t.Cleanup(func() { close(r.silent); _ = listener.Close(); _ = packets.Close() })
		go r.packets(packets)
		go r.streams(listener)
		return r
	}
}

func (r *responder) packets(conn net.PacketConn) {
	buffer := make([]byte, 1<<16)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		for _, message := range r.answer("udp", buffer[:n]) {
			_, _ = conn.WriteTo(message, from)
		}
	}
}

func (r *responder) streams(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = conn.Close() }()
			var size [2]byte
			if _, err := io.ReadFull(conn, size[:]); err != nil {
				return
			}
			message := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(conn, message); err != nil {
				return
			}
			for _, part := range r.answer("tcp", message) {
				_, _ = conn.Write(part)
			}
			<-r.silent
		}()
	}
}

func (r *responder) answer(network string, message []byte) [][]byte {
	var question dnsmessage.Message
	if err := question.Unpack(message); err != nil {
		r.t.Errorf("a malformed question: %v", err)
		return nil
	}
	right := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: question.ID, Response: true, Authoritative: true},
		Questions: question.Questions,
	}
	right.Answers = []dnsmessage.Resource{record(question.Questions[0].Name.String(), &dnsmessage.AResource{A: [4]byte{10, 0, 0, 1}})}
	return (*r.reply.Load())(network, question, right)
}

// record returns a resource record with a TTL of a second.
func record(name string, body dnsmessage.ResourceBody) dnsmessage.Resource {
	return dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, TTL: 1}, Body: body,
	}
}

// packed returns the messages as bytes.
func packed(messages ...dnsmessage.Message) (all [][]byte) {
	for _, m := range messages {
		data, err := m.Pack()
		if err != nil {
			panic(err)
		}
		all = append(all, data)
	}
	return all
}

// framed returns the message as it is sent over TCP.
func framed(m dnsmessage.Message) []byte {
	data := packed(m)[0]
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(data))), data...)
}

func rightReply(network string, _, answer dnsmessage.Message) [][]byte {
	if network == "tcp" {
		return [][]byte{framed(answer)}
	}
	return packed(answer)
}

const right = "10.0.0.1=10.0.0.1:9000*1"

// TestMalformed: no answer but the right one counts, and the last one stays meanwhile.
func TestMalformed(t *testing.T) {
	t.Parallel()
	truncated := func(stream func(answer dnsmessage.Message) []byte) reply {
		return func(network string, _, answer dnsmessage.Message) [][]byte {
			if network == "tcp" {
				return [][]byte{stream(answer)}
			}
			answer.Truncated, answer.Answers = true, nil
			return packed(answer)
		}
	}
	spoiled := func(spoil func(answer *dnsmessage.Message)) reply {
		return func(network string, q, answer dnsmessage.Message) [][]byte {
			answer.Answers = []dnsmessage.Resource{record(answer.Questions[0].Name.String(), &dnsmessage.AResource{A: [4]byte{6, 6, 6, 6}})}
			spoil(&answer)
			return rightReply(network, q, answer)
		}
	}
	loop := []byte{0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 6, 6, 6, 6}
	for name, c := range map[string]struct {
		reply reply
		why   string
	}{
		"another ID":             {spoiled(func(m *dnsmessage.Message) { m.ID++ }), "not the answer to this question"},
		"no response":            {spoiled(func(m *dnsmessage.Message) { m.Response = false }), "not the answer to this question"},
		"another name":           {spoiled(func(m *dnsmessage.Message) { m.Questions[0].Name = dnsmessage.MustNewName("x.example.") }), "not the answer to this question"},
		"another type":           {spoiled(func(m *dnsmessage.Message) { m.Questions[0].Type = dnsmessage.TypeMX }), "not the answer to this question"},
		"no question":            {spoiled(func(m *dnsmessage.Message) { m.Questions = nil }), "no valid answer within"},
		"SERVFAIL":               {spoiled(func(m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeServerFailure }), "the server says ServerFailure"},
		"records of other name":  {spoiled(func(m *dnsmessage.Message) { m.Answers[0].Header.Name = dnsmessage.MustNewName("x.example.") }), "no such records"},
		"records of other class": {spoiled(func(m *dnsmessage.Message) { m.Answers[0].Header.Class = dnsmessage.ClassCHAOS }), "no such records"},
		"lame":                   {spoiled(func(m *dnsmessage.Message) { m.Answers, m.Authoritative = nil, false }), "asks nobody else"},
		"loop of aliases": {spoiled(func(m *dnsmessage.Message) {
			name := m.Questions[0].Name
			m.Answers = []dnsmessage.Resource{record(name.String(), &dnsmessage.CNAMEResource{CNAME: name})}
		}), "no such records"},
		"garbage":                             {func(string, dnsmessage.Message, dnsmessage.Message) [][]byte { return [][]byte{{1, 2, 3}, {}} }, "no valid answer within"},
		"nothing":                             {func(string, dnsmessage.Message, dnsmessage.Message) [][]byte { return nil }, "no answer within"},
		"cut":                                 {func(_ string, _, m dnsmessage.Message) [][]byte { return [][]byte{packed(m)[0][:30]} }, "no valid answer within"},
		"bad name":                            {func(_ string, _, m dnsmessage.Message) [][]byte { return [][]byte{append(packed(m)[0][:12], loop...)} }, "no valid answer within"},
		"TCP silent after half of the answer": {truncated(func(m dnsmessage.Message) []byte { return framed(m)[:20] }), "no answer within"},
		"TCP silent after the length":         {truncated(func(m dnsmessage.Message) []byte { return framed(m)[:2] }), "no answer within"},
		"TCP silent":                          {truncated(func(dnsmessage.Message) []byte { return nil }), "no answer within"},
		"TCP truncated":                       {truncated(func(m dnsmessage.Message) []byte { m.Truncated = true; return framed(m) }), "truncated over TCP"},
		"TCP of another question":             {truncated(func(m dnsmessage.Message) []byte { m.ID++; return framed(m) }), "not the answer to this question"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newResponder(t, rightReply)
			o := options(headless, server.address)
			o.Network, o.Timeout = "ip4", 200*time.Millisecond
			r := resolve(t, o)
			expect(t, r, right)
			found(t, r)
			server.reply.Store(&c.reply)
			lost(t, r, c.why)
			if got, err := lookup(t, r); got != right || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
			fine := reply(rightReply)
			server.reply.Store(&fine)
			found(t, r)
			expect(t, r, right)
		})
	}
}

// TestForeignPackets: foreign packets before the right answer are ignored.
func TestForeignPackets(t *testing.T) {
	t.Parallel()
	server := newResponder(t, func(_ string, _, answer dnsmessage.Message) [][]byte {
		foreign := answer
		foreign.ID++
		foreign.Answers = []dnsmessage.Resource{record("orders.example.", &dnsmessage.AResource{A: [4]byte{6, 6, 6, 6}})}
		return append([][]byte{{}, {0}, packed(foreign)[0]}, packed(answer)...)
	})
	r := resolve(t, options(headless, server.address))
	expect(t, r, right)
	found(t, r)
}

// TestOldServer: a server without EDNS(0) is queried without it.
func TestOldServer(t *testing.T) {
	t.Parallel()
	server := newResponder(t, func(_ string, question, answer dnsmessage.Message) [][]byte {
		if len(question.Additionals) > 0 {
			answer.RCode, answer.Answers = dnsmessage.RCodeFormatError, nil
		}
		return packed(answer)
	})
	expect(t, resolve(t, options(headless, server.address)), right)
}

// TestEDNS: a question announces the size of the packets that it takes.
func TestEDNS(t *testing.T) {
	t.Parallel()
	var size atomic.Int64
	server := newResponder(t, func(network string, question, answer dnsmessage.Message) [][]byte {
		for _, r := range question.Additionals {
			if r.Header.Type == dnsmessage.TypeOPT {
				size.Store(int64(r.Header.Class))
			}
		}
		return rightReply(network, question, answer)
	})
	expect(t, resolve(t, options(headless, server.address)), right)
	if size.Load() != 1232 {
		t.Errorf("EDNS(0) size %d, want 1232", size.Load())
	}
}

// TestAliasElsewhere: an alias without its records in the answer is queried.
func TestAliasElsewhere(t *testing.T) {
	t.Parallel()
	server := newResponder(t, func(_ string, question, answer dnsmessage.Message) [][]byte {
		if question.Questions[0].Name.String() == "orders.example." {
			answer.Answers = []dnsmessage.Resource{record("ORDERS.example.", &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("Shop.elsewhere.")})}
		}
		return packed(answer)
	})
	expect(t, resolve(t, options(headless, server.address)), right)
}

// TestCompressed: the target of an SRV record may be compressed, and the records of a target may be missing in the answer.
func TestCompressed(t *testing.T) {
	t.Parallel()
	server := newResponder(t, func(_ string, question, answer dnsmessage.Message) [][]byte {
		if question.Questions[0].Type != dnsmessage.TypeSRV {
			return packed(answer)
		}
		answer.Answers = nil
		data := packed(answer)[0]
		data[7] = 1 // one answer: name at offset 12, SRV, IN, TTL 1, length 8: priority 0, weight 1, port 9000, target at offset 12
		return [][]byte{append(data, 0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 1, 0, 8, 0, 0, 0, 1, 0x23, 0x28, 0xc0, 12)}
	})
	want := strings.ReplaceAll("_grpc._tcp.orders.example:9000=10.0.0.1:9000*1/0", " ", "")
	expect(t, resolve(t, options(map[string]dnsdiscovery.Protocol{"grpc": {}}, server.address)), want)
}

// TestClose: a watch ends within a second of its context, for any behavior of the server.
func TestClose(t *testing.T) {
	t.Parallel()
	server := newResponder(t, func(network string, _, answer dnsmessage.Message) [][]byte {
		if network == "tcp" {
			return nil
		}
		answer.Truncated = true
		return packed(answer)
	})
	o := options(headless, server.address)
	o.Timeout = time.Minute
	r := resolve(t, o)
	go func() { _, _ = r.Lookup(t.Context(), "orders") }()
	testenv.Eventually(t, patience, "the question", func() error {
		if len(r.Status()) == 0 {
			return io.EOF
		}
		return nil
	})
	time.Sleep(200 * time.Millisecond) // the connection is there, most likely
	began := time.Now()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("Close took %s", took)
	}
}
