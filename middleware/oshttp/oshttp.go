// Package oshttp observes and protects net/http servers and clients: spans, metrics, access log, panic recovery, deadlines and limits.
//
//	server := &http.Server{Handler: oshttp.NewHandler(mux, &oshttp.HandlerOptions{Telemetry: pipeline.Providers()})}
//	client := &http.Client{Transport: oshttp.NewTransport(nil, &oshttp.TransportOptions{Telemetry: pipeline.Providers()})}
//
// # Guarantees
//
//   - Every request that reaches the handler ends its span and is measured exactly once, however it ends: a return, a panic,
//     http.ErrAbortHandler, a passed deadline, a client that left, or a hijacked connection.
//   - No client can create a metric series. Methods that HTTP does not know become _OTHER, and neither Host nor path is on a metric.
//     Attributes from a request on a span are bounded, valid UTF-8 and free of known credentials.
//   - A handler's ResponseWriter has exactly the abilities of the server's own: flushing, hijacking, sendfile, push, close
//     notification, and those of http.ResponseController. The body of a response has those of the body that the base returns. Streams,
//     trailers, informational responses and websockets pass through. An object that a handler can keep is never reused for another
//     request.
//   - A panic is answered with 500 if nothing was written yet. Otherwise the connection is aborted, since the client would take a
//     response that ends properly for complete.
//   - The client's request is never changed. Its span lasts until the response's body is read to the end or closed.
//
// Recovery, deadlines and limits work without any telemetry. With telemetry.Off a request costs one
// allocation.
//
// # Deadlines
//
// HandlerOptions.Timeout bounds every request, and DefaultTimeout is the deadline of those whose callers set none. Both mean the
// same in package osgrpc.
//
// Deadlines travel between services that trust each other. A client whose TransportOptions name a DeadlineHeader sends the time that
// its context has left. A server whose HandlerOptions name the same header obeys it. Both are off by default: otherwise any client
// could cause requests to be refused or cut, and the header would go to third parties.
//
//	client := oshttp.NewTransport(nil, &oshttp.TransportOptions{DeadlineHeader: oshttp.DefaultDeadlineHeader})
//	server := oshttp.NewHandler(mux, &oshttp.HandlerOptions{DeadlineHeader: oshttp.DefaultDeadlineHeader})
//
// The deadline belongs to the request's context: it does not interrupt a handler, which must check the context. If the handler returns
// without having written anything, the answer is 504, like that of a gateway with a late upstream. A response that begins after the
// deadline is sent unchanged: it may be the handler's own answer to being late. A response that had begun before is aborted, since the
// client would take a response that ends properly for complete. A handler that needs longer for the rest sets a later Timeout, or a
// Content-Length, which shows that nothing is missing. A request that arrives without time left is not served at all. The deadline of
// an upgrade, such as a websocket's, applies to the handshake and not to the connection.
//
// # Untrusted callers and proxies
//
// A server on the internet sets HandlerOptions.Public. It then ignores the trace context, baggage and deadlines of its callers, and
// hides these headers from its handlers. A Transport replaces the fields of the propagator and the deadline that its request already
// has: a reverse proxy may have copied them from another trace.
//
// # Services
//
// A [Services] sends requests for http://orders/path to the instances of the service "orders" in a discovery.Resolver. Put it below a
// Transport: the span then names the instance. Only hosts that the program lists are services.
//
//	services, err := oshttp.NewServices(resolver, &oshttp.ServicesOptions{Names: []string{"orders"}})
//	client := &http.Client{Transport: oshttp.NewTransport(services, nil)}
//
// Addresses are reused. A request for an instance that died may reach another service that was started at its address. So each request
// names its service and instance, in the headers Goos-Service and Goos-Instance. A server with HandlerOptions.Services refuses requests for
// other services with 421, and repeats the service in the header Goos-Misdirected. The client then sends the request to another instance,
// and leaves that one out for 30 seconds or until its record changes. Clients that send no such header are served. A Transport removes
// these headers from requests that it sends to other hosts. A reverse proxy that forwards its requests in another way must remove them.
//
// With ServicesOptions.Router, a router.Router chooses the instances by their load and health, retries and hedges, and rejects. One policy then
// holds for HTTP and gRPC. Requests that may be sent twice, by the rule of net/http, are retried if the path to an instance fails. Others are
// retried only if nothing of them was sent. Upgrades and answers that have begun are never repeated. Retries and hedges are marked by the header
// Goos-Attempt: a handler that gets a retry does not retry its own requests.
//
// # Load
//
// A server with HandlerOptions.ReportLoad reports its requests in flight and its latency to these clients, in the headers x-prequal-rif and
// x-prequal-latency-us of its answers, and to probes of GET /prequal/probe. HandlerOptions.Shedder refuses requests while the server is
// overloaded, the least important first.
//
// # Routes
//
// The route is read after the handler returns, from the pattern that the router left on the request. Where that does not suffice, one
// line does; each is tested with the router named (internal/tooling/bench/routers):
//
//	http.ServeMux                        nothing
//	a mux behind middleware that copies  Routed(mux)
//	http.StripPrefix                     SetRoute(w, "/api/items/{id}") in the handler
//	chi, inside: router.Use              nothing
//	chi, around the router               router.Use(oshttp.Routed)
//	gorilla/mux, router.Use              Route: func(r *http.Request) string { t, _ := mux.CurrentRoute(r).GetPathTemplate(); return t }
//	gin                                  router.Use(func(c *gin.Context) { c.Next(); oshttp.SetRoute(c.Writer, c.FullPath()) })
//	echo                                 the same with c.Response() and c.Path()
//	connect-go                           mux.Handle(pingv1connect.PingServicePingProcedure, handler), for each procedure
//
// A catch-all pattern, such as "/" or "/{rest...}", is one route for everything behind it: one metric series and one span name. If a
// handler serves at least 32 paths under one, or under no route, it reports that once, by a log line that names the route and the
// remedies. A route from SetRoute or HandlerOptions.Route is never reported.
//
// # Telemetry
//
// Names and attributes are those of the OpenTelemetry semantic conventions v1.43. The scope is this package's import path.
//
// The server span, of kind server, is named "{method}" until it ends, then "{method} {route}" if there is a route:
//
//	http.request.method           one of HandlerOptions.KnownMethods, or _OTHER
//	http.request.method_original  if the method is not known
//	url.scheme, url.path
//	http.route                    if there is one
//	http.response.status_code     if a response was begun; not that of a connection that the handler took over
//	error.type                    if it failed: see below
//	url.query                     if there is one, without the values of credentials
//	server.address, server.port   from the Host header, or from a trusted proxy: HandlerOptions.Proxies
//	network.peer.address, network.peer.port
//	client.address                that of the peer, or from a trusted proxy or HandlerOptions.ClientAddress
//	user_agent.original, network.protocol.version
//
// The client span, of kind client, is named "{method}" or "{method} {url.template}":
//
//	http.request.method, http.request.method_original
//	server.address, server.port   from Request.Host, or the URL
//	url.full                      without credentials
//	url.template                  if TransportOptions.Template knows it
//	http.request.resend_count     on requests that follow a redirect, or that a router.Router has sent more than once
//	goos.discovery.instance       the ID of the instance that the request went to last, for a service
//	network.peer.address, network.peer.port   those of the instance, if it has an IP address
//	goos.router.arm               the arm of the split that the request belongs to, if a router.Router has one
//	http.response.status_code, network.protocol.version, error.type
//
// Attributes are set when the span ends. With the option SampleByRequest, those that are known in advance are passed to the sampler.
//
// Metrics; those marked with * are off unless requested:
//
//	http.server.request.duration      http.request.method, url.scheme, http.route, http.response.status_code,
//	                                  network.protocol.version, error.type
//	http.server.active_requests       http.request.method, url.scheme
//	http.server.request.body.size *   as the duration
//	http.server.response.body.size *  as the duration
//	http.client.request.duration      http.request.method, server.address, server.port, url.template,
//	                                  http.response.status_code, network.protocol.version, error.type
//	http.client.active_requests *     http.request.method, server.address, server.port, url.scheme, url.template
//
// http.server.active_requests is observed on collection. All handlers on one meter share its registration and its series, so that
// middleware that is created for each request leaves nothing behind. A long-lived response, such as a stream or a websocket, is
// measured when it ends, with its whole duration.
//
// Events:
//
//	http.server.request.exception     a panic: exception.type, exception.message, exception.stacktrace,
//	                                  http.request.method, url.scheme, http.route
//	http.client.request.exception     a call that failed: exception.type, exception.message, http.request.method,
//	                                  server.address, server.port, error.type; not for calls that their caller cancelled
//
//	goos.http.client.instance.misdirected   an instance refused a request for another service or instance, and gets none for a while:
//	                                  goos.discovery.service, goos.discovery.instance
//
// error.type of a server is the status code from 500 on, or
//
//	panic           the handler panicked
//	aborted         it gave up its response, by http.ErrAbortHandler or runtime.Goexit
//	timeout         the deadline passed, and the handler wrote nothing, an error, or not all
//	body_too_large  HandlerOptions.MaxBodyBytes
//	overloaded      HandlerOptions.MaxConcurrent, Shedder
//	misdirected     HandlerOptions.Services, Instance
//	_OTHER          a status code beyond 599
//
// A 4xx answer does not make the server's span an error: the client caused it. A client that left before it had the whole answer is no
// error either, even if a proxy gives up its response for that: the conventions leave intentional cancellation without error.type and
// status. If nothing was written to it there is no status code; the access log has 499 and error.type canceled.
//
// error.type of a client is the status code from 400 on, or one of timeout, canceled, name_resolution_error, connection_refused,
// connection_reset, connection_closed, unreachable, server_certificate_invalid, tls_error, panic (of the base RoundTripper) and _OTHER. Without
// an instance that a router.Router may choose, it is unavailable, not_found, closed, breaker_open, throttled or limited.
// A call that its caller cancelled has none; canceled is a call that something else cancelled.
//
// Log lines, through Telemetry.Logger: a misdirected request, if events are not enabled; the access log if it is on, whose message is the span's name, with url.path,
// http.response.status_code, duration, http.response.body.size, client.address and error.type; a panic, with its stack, if events are
// not enabled; and once a handler the warning that many paths share one route.
package oshttp
