// Package readnodev1 is the gRPC API of a read node, generated from readnode.proto, with the revisions of its protocol.
package readnodev1

//go:generate go -C ../../../../tools/protogen run . -file ../../control/discovery/internal/readnodev1/readnode.proto

// Protocol is the newest revision of the protocol that this package implements, and Oldest the oldest one.
const (
	Protocol = 1
	Oldest   = 1
)
