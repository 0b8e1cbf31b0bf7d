package testenv

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// Weight is the cost of an engine on a machine that does not have it yet.
type Weight string

// The weights.
const (
	// Light engines are built whenever a test asks for them. A build takes around a minute on two cores, once.
	Light Weight = "light"
	// Heavy engines take several minutes, so a plain "go test" only uses one that is already there.
	Heavy Weight = "heavy"
	// Installed engines are not Go programs. They are found on the machine and never built.
	Installed Weight = "installed"
)

// Engine describes a server or a tool that tests use: where its program comes from, and how it runs.
type Engine struct {
	// Name is the engine's name in messages, files and the engines command. Required.
	Name string
	// Weight decides when the program is built. Required.
	Weight Weight

	// Module is the folder of the pinned module that builds the program, relative to the repository root. The module's own code is in that
	// folder and in none below it: a change further down would go unnoticed. Empty for Installed engines.
	Module string
	// Package is the main package to build in Module. Default: ".", the module's root.
	Package string
	// Tags are build tags, separated by commas. Default: none.
	Tags string
	// Command is the program's name on PATH. Default: PATH is not searched.
	Command string
	// Remedy is the advice to a user without the engine, for example "apt-get install redis-server". Default: the command that builds it.
	Remedy string

	// Ports is how many loopback ports the server listens on. Default: 0.
	Ports int
	// Prepare writes the server's files into place.Dir. It runs before every start, restarts included, so it must keep the server's data.
	// Default: none.
	Prepare func(place Place) error
	// Args returns the server's command line. Nil for a tool that is run, not started.
	Args func(place Place) []string
	// Env is added to the test's own environment for the server, as "name=value". Default: none.
	Env []string
	// User is the user of the server if the tests run as root, for a server that refuses root. Default: the user of the tests.
	User string
	// StopSignal asks the server to end. Default: SIGTERM.
	StopSignal os.Signal
	// Ready returns nil once the server answers. It is called until it returns nil. Nil for a tool.
	Ready func(ctx context.Context, place Place) error
}

// Program is an executable file that Find found.
type Program struct {
	// Path is the file.
	Path string
	// Pinned is true for a program built from the repository's own module, whose version is therefore known. It is false for a program
	// found on the machine.
	Pinned bool
}

// Place is where one server runs. Prepare, Args and Ready receive it.
type Place struct {
	// Program is the server's executable file.
	Program Program
	// Dir is the server's own temporary folder.
	Dir string
	// Ports are its loopback ports, as many as Engine.Ports.
	Ports []int
}

// Addr returns "127.0.0.1:port" for the i-th port.
func (p Place) Addr(i int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Ports[i])) }

// File returns the path of a file in the server's folder.
func (p Place) File(name string) string { return filepath.Join(p.Dir, name) }
