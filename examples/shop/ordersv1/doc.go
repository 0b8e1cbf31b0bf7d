// Package ordersv1 is the gRPC API of the shop's orders service, generated from orders.proto.
package ordersv1

//go:generate go -C ../../../tools/protogen run . -file ../../examples/shop/ordersv1/orders.proto
