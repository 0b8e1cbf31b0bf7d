package testenv

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are taken below the ranges from which Linux (32768 and up) and the BSDs, macOS and Windows (49152 and up) serve
// outgoing connections and listeners on port 0: a server that is down between Kill and Restart must find its port free.
const (
	firstPort = 20000
	lastPort  = 32000
)

// freePorts returns n distinct TCP ports that nobody listens on. Someone may take one before the server does; start tries
// again with others then.
func freePorts(n int) ([]int, error) {
	var ports []int
	for attempt := 0; len(ports) < n; attempt++ {
		if attempt > 1000 {
			return nil, fmt.Errorf("no %d free loopback ports between %d and %d", n, firstPort, lastPort)
		}
		port := firstPort + rand.IntN(lastPort-firstPort)
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		// Held until all are chosen, which keeps them distinct.
		defer listener.Close()
		ports = append(ports, port)
	}
	return ports, nil
}
