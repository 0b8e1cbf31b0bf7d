// Package routers tests middleware/oshttp with the routers that programs use it with: that each request's route comes out
// right, with the line that the package comment of oshttp names, and that what the router does with its writer still works. It is
// a module of its own, so that none of them reaches a user of Go OS.
package routers
