// Package ordersv1 is the gRPC API of the shop's orders service, generated from orders.proto.
//
// The generator is a separate module, so that its dependencies are not those of the library. It is pure Go and needs no protoc. With -check
// it writes nothing, and fails if a generated file is stale.
package ordersv1

//go:generate go -C gen run .
