package osgrpc

import (
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// idempotent reports whether a method may be called twice.
func (d *directory) idempotent(fullMethod string) bool {
	if d.opts.Idempotent != nil {
		return d.opts.Idempotent(fullMethod)
	}
	return d.declared.Get(fullMethod, declaredIdempotent)
}

// declaredIdempotent reports whether the descriptor of a method, which generated code registers, has the option idempotency_level.
func declaredIdempotent(fullMethod string) bool {
	name := strings.ReplaceAll(methodName(fullMethod), "/", ".")
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return false
	}
	method, ok := found.(protoreflect.MethodDescriptor)
	if !ok {
		return false
	}
	options, ok := method.Options().(*descriptorpb.MethodOptions)
	return ok && options.GetIdempotencyLevel() != descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN
}
