package exporters

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/go-os/go-os/internal/delivery"
)

// smallestLoad is the least size, in bytes, to which a peer's refusals reduce later loads.
const smallestLoad = 64 << 10

// splitter delivers loads, and splits those that its peer refuses as too large, so that only an item over the limit is lost. It
// remembers the refused size and splits later loads before it sends them. Only one goroutine may use it.
type splitter[B any] struct {
	deliver deliverer
	limit   int64 // bytes of one load
	export  func(context.Context, B) error
	count   func(B) int64
	size    func(B) int64
	halve   func(B) (a, b B, ok bool)
	settle  func(n, lost int64, err error) // records the outcome of a part of a load
}

// send delivers a load until deadline; zero is never. The outcome of each part is recorded when send returns.
func (s *splitter[B]) send(ctx context.Context, load B, deadline time.Time) error {
	size := s.size(load)
	if size > s.limit {
		if a, b, ok := s.halve(load); ok {
			return s.both(ctx, a, b, deadline)
		}
	}
	var err error
	if ctx.Err() != nil {
		err = delivery.OutOfTime(ctx) // without encoding a load that cannot be sent
	} else {
		err = s.deliver.do(ctx, deadline, func(ctx context.Context) error { return s.export(ctx, load) })
	}
	if tooLarge(err, size) {
		if a, b, ok := s.halve(load); ok {
			s.limit = max(min(s.limit, size/2), smallestLoad)
			return s.both(ctx, a, b, deadline)
		}
	}
	n := s.count(load)
	s.settle(n, lostOf(n, err), err)
	return err
}

func (s *splitter[B]) both(ctx context.Context, a, b B, deadline time.Time) error {
	first := s.send(ctx, a, deadline)
	if second := s.send(ctx, b, deadline); second != nil {
		return second
	}
	return first
}

// tooLarge reports whether a peer, or an exporter of the SDK, refused a load of that many bytes for its size.
//
// RESOURCE_EXHAUSTED means a message over the limit or an exhausted quota, which splitting does not cure. If the text does not tell
// them apart, small loads are not split further.
func tooLarge(err error, size int64) bool {
	if err == nil {
		return false
	}
	var answered *httpError
	if errors.As(err, &answered) {
		return answered.answer.status == http.StatusRequestEntityTooLarge
	}
	code, rpc := rpcCode(err)
	switch {
	case !rpc:
		return strings.Contains(err.Error(), "too large: exceeded") // the SDK's own limit of a request
	case code == codes.ResourceExhausted && retryAfter(err) == 0:
		return saysTooLarge(err) || size > smallestLoad
	default:
		return code == codes.OutOfRange && saysTooLarge(err) // tonic, of Rust
	}
}

// saysTooLarge recognizes the messages of gRPC implementations about a message over their limit: C++ and Go, Java, .NET, Rust.
func saysTooLarge(err error) bool {
	text := strings.ToLower(err.Error())
	for _, phrase := range []string{"larger than max", "exceeds maximum", "exceeds the maximum", "length too large", "too large"} {
		if strings.Contains(text, phrase) {
			return true
		}
	}
	return false
}

// halves splits a batch in the middle.
func halves[T any](batch []T) (a, b []T, ok bool) {
	if len(batch) < 2 {
		return batch, nil, false
	}
	return batch[:len(batch)/2], batch[len(batch)/2:], true
}
