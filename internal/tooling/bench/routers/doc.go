// Package routers tests middleware/oshttp with common routers. It checks that each request has the right route, with the line that the
// package comment of oshttp names, and that the router's use of its writer still works. It is a separate module, so that no router reaches
// a user of Go OS.
package routers
