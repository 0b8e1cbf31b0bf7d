// Package ordersv1 is the gRPC surface of the shop's orders service, generated from orders.proto.
//
// The generator is a module of its own, so that its pins never enter the library's. It is pure Go: no protoc is needed.
// With -check it writes nothing and fails if the generated files are not what orders.proto gives.
package ordersv1

//go:generate go -C gen run .
