package readnode

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/go-os/go-os/control/discovery/driver"
	pb "github.com/go-os/go-os/control/discovery/internal/readnodev1"
	"github.com/go-os/go-os/internal/sanitize"
)

// Field numbers of readnode.proto.
const (
	updateOfFrame  protowire.Number = 3
	eventsOfUpdate protowire.Number = 6
)

// maxPart is how many bytes of events one Update has, unless a single event is larger.
const maxPart = 64 << 10

// deterministic encodes equal messages to equal bytes, so that a feed can compare them.
var deterministic = proto.MarshalOptions{Deterministic: true}

// mustMarshal encodes a message of this package. Encoding fails only for text that is not UTF-8: see text.
func mustMarshal(m proto.Message) []byte {
	data, err := deterministic.Marshal(m)
	if err != nil {
		panic("readnode: " + err.Error())
	}
	return data
}

// encodeEvent returns an event as a field of an Update.
func encodeEvent(e *pb.Event) ([]byte, error) {
	data, err := deterministic.Marshal(e)
	if err != nil {
		return nil, err
	}
	return protowire.AppendBytes(protowire.AppendTag(nil, eventsOfUpdate, protowire.BytesType), data), nil
}

// maxText is the size limit, in bytes, of a text outside of records. Its registry may have other writers.
const maxText = 256

// text shortens a text to valid UTF-8 for a frame. It does not keep the original in memory.
func text(s string) string {
	if len(s) > maxText {
		s = strings.Clone(s[:maxText+1])
	}
	return sanitize.Text(s, maxText)
}

// encodeRecord returns the event of a record. A record that cannot be sent becomes an invalid one.
func encodeRecord(e driver.Event) []byte {
	id := e.Record.ID
	switch {
	case e.Kind == driver.EventPut && len(id) > maxText:
		e.Err = fmt.Errorf("%w: the ID has %d bytes: use %d at most", driver.ErrInvalid, len(id), maxText)
	case e.Kind == driver.EventPut:
		data, err := encodeEvent(&pb.Event{Kind: &pb.Event_Put{Put: pb.FromRecord(e.Record)}})
		if err == nil {
			return data
		}
		e.Err = err
	}
	reason := "no reason given"
	if e.Err != nil {
		reason = e.Err.Error()
	}
	return mustEvent(&pb.Event{Kind: &pb.Event_Invalid{Invalid: &pb.Invalid{Place: text(id), Reason: text(reason)}}})
}

// mustEvent is encodeEvent for events with valid text.
func mustEvent(e *pb.Event) []byte {
	data, err := encodeEvent(e)
	if err != nil {
		panic("readnode: " + err.Error())
	}
	return data
}

// encodeUpdate returns a Frame with an Update: its header and encoded events. A protobuf message may be concatenated from parts.
func encodeUpdate(header *pb.Update, events ...[]byte) []byte {
	head := mustMarshal(header)
	size := len(head)
	for _, e := range events {
		size += len(e)
	}
	out := make([]byte, 0, size+protowire.SizeTag(updateOfFrame)+protowire.SizeVarint(uint64(size)))
	out = protowire.AppendTag(out, updateOfFrame, protowire.BytesType)
	out = protowire.AppendVarint(out, uint64(size))
	out = append(out, head...)
	for _, e := range events {
		out = append(out, e...)
	}
	return out
}

// split divides encoded events into parts for one Update each. There is at least one part, which may be empty.
func split(events [][]byte) [][][]byte {
	parts, size, begin := [][][]byte{}, 0, 0
	for n, e := range events {
		if n > begin && size+len(e) > maxPart {
			parts, begin, size = append(parts, events[begin:n]), n, 0
		}
		size += len(e)
	}
	return append(parts, events[begin:])
}
