package dnsdiscovery_test

import (
	"context"
	"fmt"
	"log"
	"net"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/dnsdiscovery"
)

// Find the pods behind a headless service of Kubernetes.
func Example() {
	server := clusterDNS()
	defer server.Close()

	registry, err := dnsdiscovery.New(&dnsdiscovery.Options{
		Domain:    "default.svc.cluster.local",
		Protocols: map[string]dnsdiscovery.Protocol{"grpc": {Port: 9000}, "http": {Port: 8080}},
		Servers:   []string{server.LocalAddr().String()}, // in a pod, leave it out: /etc/resolv.conf names the server
	})
	if err != nil {
		log.Fatal(err)
	}
	resolver, err := discovery.NewResolver(registry, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer resolver.Close()

	orders, err := resolver.Lookup(context.Background(), "orders")
	if err != nil {
		log.Fatal(err)
	}
	for _, pod := range orders.Instances {
		fmt.Println(pod.ID, pod.Addresses["grpc"], pod.Addresses["http"])
	}
	// Output:
	// 10.1.0.4 10.1.0.4:9000 10.1.0.4:8080
	// 10.1.0.7 10.1.0.7:9000 10.1.0.7:8080
}

// clusterDNS simulates the DNS server of a cluster with two pods of the service orders.
func clusterDNS() net.PacketConn {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		buffer := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buffer[:n]) != nil {
				continue
			}
			m.Response, m.Authoritative, m.Additionals = true, true, nil
			if name := m.Questions[0].Name.String(); name == "orders.default.svc.cluster.local." {
				m.Answers = []dnsmessage.Resource{
					record(name, &dnsmessage.AResource{A: [4]byte{10, 1, 0, 7}}), record(name, &dnsmessage.AResource{A: [4]byte{10, 1, 0, 4}}),
				}
			}
			if answer, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	return conn
}
