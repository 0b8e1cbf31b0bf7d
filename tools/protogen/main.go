// Command protogen generates the Go code of a .proto file, beside that file. It uses protoc-gen-go for the messages and protoc-gen-go-grpc
// for the service, both pinned in this module, and protocompile in place of protoc. It is a separate module, so that its dependencies are not
// those of the library.
//
//	go -C tools/protogen run . -file ../../examples/shop/ordersv1/orders.proto          write the files
//	go -C tools/protogen run . -file ../../examples/shop/ordersv1/orders.proto -check   write nothing; fail if a file is stale
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// plugins run in this order; each is a tool of this module.
var plugins = []string{"protoc-gen-go", "protoc-gen-go-grpc"}

func main() {
	log.SetFlags(0)
	file := flag.String("file", "", "the .proto file; required")
	check := flag.Bool("check", false, "write nothing; fail if a generated file is stale")
	flag.Parse()
	if *file == "" {
		log.Fatal("protogen: no file: set -file")
	}
	if err := run(context.Background(), *file, *check); err != nil {
		log.Fatal("protogen: ", err)
	}
}

func run(ctx context.Context, file string, check bool) error {
	folder, source := filepath.Split(file)
	request, err := compile(ctx, folder, source)
	if err != nil {
		return err
	}
	for _, plugin := range plugins {
		response, err := generate(ctx, plugin, request)
		if err != nil {
			return err
		}
		for _, file := range response.GetFile() {
			if err := put(filepath.Join(folder, file.GetName()), file.GetContent(), check); err != nil {
				return err
			}
		}
	}
	return nil
}

// compile parses a source and returns the request that protoc would send to its plugins. Its source info contains the comments.
func compile(ctx context.Context, folder, source string) ([]byte, error) {
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{folder}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(ctx, source)
	if err != nil {
		return nil, err
	}
	var protos []*descriptorpb.FileDescriptorProto
	for _, file := range files {
		protos = append(protos, protodesc.ToFileDescriptorProto(file))
	}
	return proto.Marshal(&pluginpb.CodeGeneratorRequest{
		FileToGenerate: []string{source},
		Parameter:      proto.String("paths=source_relative"),
		ProtoFile:      protos,
	})
}

func generate(ctx context.Context, plugin string, request []byte) (*pluginpb.CodeGeneratorResponse, error) {
	cmd := exec.CommandContext(ctx, "go", "tool", plugin)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(request), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", plugin, err)
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &response); err != nil {
		return nil, fmt.Errorf("%s: its answer: %w", plugin, err)
	}
	if response.Error != nil {
		return nil, fmt.Errorf("%s: %s", plugin, response.GetError())
	}
	return &response, nil
}

func put(path, content string, check bool) error {
	if !check {
		return os.WriteFile(path, []byte(content), 0o644)
	}
	have, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if string(have) != content {
		return fmt.Errorf("%s is stale: run `go generate` in its folder", path)
	}
	return nil
}
