// Command fake is a server for the tests of testenv. It compiles in a second and misbehaves on request.
package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	addr := flag.String("addr", "", "where to listen")
	broken := flag.Bool("broken", false, "end at once")
	deaf := flag.Bool("deaf", false, "ignore SIGTERM")
	flag.Parse()
	if *broken {
		fmt.Println("the flux capacitor is missing")
		os.Exit(3)
	}
	if *deaf {
		signal.Ignore(syscall.SIGTERM)
	}
	http.HandleFunc("/ready", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, os.Getpid()) })
	fmt.Println(http.ListenAndServe(*addr, nil))
	os.Exit(1)
}
