package exporters

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	logspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/go-os/go-os/internal/delivery"
)

const (
	// maxConfirmation bounds the body of a successful answer, as the OTLP specification recommends.
	maxConfirmation = 4 << 20
	// maxRefusal bounds the bytes read from the body of any other answer. maxReason bounds the part of it that an error shows.
	maxRefusal = 64 << 10
	maxReason  = 512
)

const protobufType = "application/x-protobuf"

// httpAnswer is the response of the peer over HTTP. The OTLP exporters hide the status, Retry-After and the content type from their
// callers, so the transport records them here.
type httpAnswer struct {
	status     int
	retryAfter time.Duration
	location   string // of a redirect, without its secrets
	reason     string // from the body, on one line
	invalid    string // why a 2xx answer confirms nothing; empty if it does
}

type httpAnswerKey struct{}

// failed reports whether the peer answered and its answer made the export fail.
func (a *httpAnswer) failed() bool {
	return a.invalid != "" || a.status != 0 && (a.status < 200 || a.status > 299)
}

// httpError is the error of an export that failed by the peer's answer.
type httpError struct {
	answer httpAnswer
	err    error
}

func (e *httpError) Error() string {
	text := "HTTP " + strconv.Itoa(e.answer.status) + " " + http.StatusText(e.answer.status)
	switch a := e.answer; {
	case a.invalid != "":
		text += ", which is no OTLP answer: " + a.invalid
	case a.location != "":
		text += ": a redirect to " + a.location + ", which is not followed"
	case a.reason != "":
		text += ": " + a.reason
	}
	return text
}

func (e *httpError) Unwrap() error { return e.err }

// errNoOTLP reports a 2xx answer that is not an OTLP answer.
var errNoOTLP = errors.New("the answer is no OTLP answer")

// otlpTransport sends the requests of an OTLP exporter. Only an answer that confirms the export counts as a success.
//
// An exporter of the SDK accepts any 2xx answer, whatever its body: the page of a captive portal, or of a web server at the wrong port.
type otlpTransport struct {
	signal   Signal
	endpoint *url.URL
	next     *http.Transport
}

// RoundTrip implements http.RoundTripper. It sets the configured URL, because the exporters drop its query and change its path.
func (t *otlpTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, ok := r.Context().Value(httpAnswerKey{}).(*httpAnswer)
	if !ok {
		answer = new(httpAnswer)
	}
	r = r.Clone(r.Context())
	to := *t.endpoint
	if user := to.User; user != nil && r.Header.Get("Authorization") == "" {
		password, _ := user.Password()
		r.SetBasicAuth(user.Username(), password)
	}
	to.User = nil
	r.URL = &to
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	answer.status = resp.StatusCode
	answer.retryAfter = delivery.RetryAfter(resp.Header.Get("Retry-After"), time.Now())
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return answer.refuse(resp)
	}
	return t.confirm(resp, answer)
}

// CloseIdleConnections lets http.Client close the connections.
func (t *otlpTransport) CloseIdleConnections() { t.next.CloseIdleConnections() }

// refuse records why the peer did not take the data, and replaces the body by the reason. The exporters copy the whole body into their
// errors, even a page of HTML.
func (a *httpAnswer) refuse(resp *http.Response) (*http.Response, error) {
	if at, err := resp.Location(); err == nil && resp.StatusCode < 400 {
		a.location = redactURL(at.String())
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	_ = resp.Body.Close()
	if err == nil {
		a.reason = reasonOf(resp.Header.Get("Content-Type"), body)
	}
	return replaceBody(resp, []byte(a.reason)), nil
}

// reasonOf reduces a body to one line: the message of a google.rpc.Status, which OTLP requires, or the text itself.
func reasonOf(contentType string, body []byte) string {
	text := string(body)
	if kind, _, _ := mime.ParseMediaType(contentType); kind == protobufType {
		var s rpcstatus.Status
		if proto.Unmarshal(body, &s) == nil {
			text = s.GetMessage()
		}
	}
	text = strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(text, " "))
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + " …"
	}
	return text
}

// confirm passes a 2xx answer on if it is an OTLP answer. The exporter always receives it as protobuf, the only form from which every
// exporter reads a partial success.
func (t *otlpTransport) confirm(resp *http.Response, a *httpAnswer) (*http.Response, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxConfirmation+1))
	_ = resp.Body.Close()
	if err != nil {
		return nil, err
	}
	if len(body) > maxConfirmation {
		a.invalid = fmt.Sprintf("its body is longer than %d bytes", maxConfirmation)
		return nil, errNoOTLP
	}
	if body, a.invalid = t.decode(resp, body); a.invalid != "" {
		return nil, errNoOTLP
	}
	resp.Header.Set("Content-Type", protobufType)
	return replaceBody(resp, body), nil
}

// decode returns the answer as protobuf, or why it is invalid. OTLP requires 200. Some backends send 202 or 204 for data that they
// keep, with an empty body, which is the encoding of an empty answer.
func (t *otlpTransport) decode(resp *http.Response, body []byte) (out []byte, invalid string) {
	switch resp.StatusCode {
	case http.StatusOK, http.StatusAccepted, http.StatusNoContent:
	default:
		return nil, "a success is 200"
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	message := confirmation(t.signal)
	var err error
	switch {
	case kind == "application/json":
		err = decodeJSON(body, message)
	case kind == protobufType || kind == "application/protobuf":
		err = decodeProtobuf(body, message)
	case len(body) > 0:
		return nil, fmt.Sprintf("its content type is %q", resp.Header.Get("Content-Type"))
	}
	if err == nil {
		out, err = proto.Marshal(message)
	}
	if err != nil {
		return nil, err.Error()
	}
	return out, ""
}

// confirmation returns an empty response message of the signal.
func confirmation(which Signal) proto.Message {
	switch which {
	case Traces:
		return new(tracepb.ExportTraceServiceResponse)
	case Metrics:
		return new(metricspb.ExportMetricsServiceResponse)
	default:
		return new(logspb.ExportLogsServiceResponse)
	}
}

var errForeign = errors.New("its fields are not those of OTLP")

// decodeProtobuf rejects a message that has only unknown fields. Unknown fields beside known ones belong to a later version.
func decodeProtobuf(body []byte, m proto.Message) error {
	if err := proto.Unmarshal(body, m); err != nil {
		return errors.New("its body is not the protobuf of one")
	}
	known := m.ProtoReflect()
	if len(known.GetUnknown()) > 0 && !known.Has(known.Descriptor().Fields().ByName("partial_success")) {
		return errForeign
	}
	return nil
}

// decodeJSON is decodeProtobuf for JSON. An empty body is an empty answer.
func decodeJSON(body []byte, m proto.Message) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil || (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, m) != nil {
		return errors.New("its body is not the JSON of one")
	}
	if len(fields) > 0 && fields["partialSuccess"] == nil && fields["partial_success"] == nil {
		return errForeign
	}
	return nil
}

func replaceBody(resp *http.Response, body []byte) *http.Response {
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return resp
}
