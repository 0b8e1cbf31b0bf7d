package discovery_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/go-os/go-os/control/discovery"
	"github.com/go-os/go-os/control/discovery/driver"
	"github.com/go-os/go-os/control/discovery/kvdiscovery"
	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/memkv"
)

// open returns a Registrar and a Resolver on one registry in memory. A service uses the store of etcd, Consul or NATS.
func open() (*kvdiscovery.Registry, *discovery.Registrar, *discovery.Resolver) {
	registry, err := kvdiscovery.New(kv.New(memkv.New(nil), nil), nil)
	if err != nil {
		log.Fatal(err)
	}
	registrar, err := discovery.NewRegistrar(registry, nil)
	if err != nil {
		log.Fatal(err)
	}
	resolver, err := discovery.NewResolver(registry, nil)
	if err != nil {
		log.Fatal(err)
	}
	return registry, registrar, resolver
}

// shown returns the IDs and the states of instances.
func shown(instances []discovery.Instance) string {
	var all []string
	for _, i := range instances {
		all = append(all, i.ID+" "+i.State.String())
	}
	return strings.Join(all, ", ")
}

// Register an instance in one service, and look it up in another.
func Example() {
	ctx := context.Background()
	_, registrar, resolver := open()
	defer registrar.Close()
	defer resolver.Close()

	registration, err := registrar.Register(ctx, discovery.Instance{
		Service: "orders", ID: "orders-1", Addresses: map[string]string{"grpc": "10.0.0.7:9000"},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready:", registration.Check(ctx) == nil)

	orders, err := resolver.Lookup(ctx, "orders")
	if err != nil {
		log.Fatal(err)
	}
	for _, instance := range orders.Instances {
		fmt.Println(instance.ID, instance.Addresses["grpc"], instance.State)
	}
	_, err = resolver.Lookup(ctx, "payments")
	fmt.Println(err)
	// Output:
	// ready: true
	// orders-1 10.0.0.7:9000 up
	// discovery: lookup "payments": not found: no instance has been registered
}

// A drained instance stays visible, so that its requests can end. After Close it is gone.
func ExampleRegistration_Drain() {
	ctx := context.Background()
	_, registrar, resolver := open()
	defer registrar.Close()
	defer resolver.Close()
	registration, err := registrar.Register(ctx, discovery.Instance{
		Service: "orders", ID: "orders-1", Addresses: map[string]string{"grpc": "10.0.0.7:9000"},
	})
	if err != nil {
		log.Fatal(err)
	}

	for change, err := range resolver.Watch(ctx, "orders") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("[%s]\n", shown(change.Snapshot.Instances))
		switch {
		case len(change.Added) > 0:
			err = registration.Drain(ctx)
		case len(change.Updated) > 0:
			err = registration.Close()
		default:
			return
		}
		if err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// [orders-1 up]
	// [orders-1 draining]
	// []
}

// A Watch reports the present instances first, and then every change.
func ExampleResolver_Watch() {
	ctx := context.Background()
	_, registrar, resolver := open()
	defer registrar.Close()
	defer resolver.Close()
	registration, err := registrar.Register(ctx, discovery.Instance{
		Service: "orders", ID: "orders-1", Addresses: map[string]string{"grpc": "10.0.0.7:9000"},
	})
	if err != nil {
		log.Fatal(err)
	}

	for change, err := range resolver.Watch(ctx, "orders") {
		if err != nil {
			log.Fatal(err)
		}
		for _, instance := range change.Added {
			fmt.Println("added", instance.ID)
			err = registration.Update(ctx, func(i *discovery.Instance) { i.Weight = 50 })
		}
		for _, instance := range change.Updated {
			fmt.Println("updated", instance.ID, "weight", instance.Weight)
			err = registration.Close()
		}
		for _, instance := range change.Removed {
			fmt.Println("removed", instance.ID)
			return
		}
		if err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// added orders-1
	// updated orders-1 weight 50
	// removed orders-1
}

// A View has the instances that its filters accept. Make it once, and read its Snapshot for each request.
func ExampleResolver_View() {
	ctx := context.Background()
	registry, err := discovery.Static(
		discovery.Instance{Service: "orders", ID: "orders-1", Zone: "a", Addresses: map[string]string{"grpc": "10.0.0.7:9000"}},
		discovery.Instance{Service: "orders", ID: "orders-2", Zone: "b", Addresses: map[string]string{"grpc": "10.0.0.8:9000"}},
		discovery.Instance{Service: "orders", ID: "orders-3", Zone: "a", State: discovery.Draining, Addresses: map[string]string{"grpc": "10.0.0.9:9000"}},
	)
	if err != nil {
		log.Fatal(err)
	}
	resolver, err := discovery.NewResolver(registry, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer resolver.Close()

	near, err := resolver.View(ctx, "orders", discovery.Available, discovery.InZone("a"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(shown(near.Snapshot().Instances))
	// Output: orders-1 up
}

// The last instance of a service is held when its record vanishes without a goodbye: it may still serve. Reports of failed connections end
// the hold.
func ExampleResolver_Report() {
	ctx := context.Background()
	registry, registrar, resolver := open()
	defer registrar.Close()
	defer resolver.Close()
	lease, err := registry.Grant(ctx, time.Minute) // the lease of another process
	if err != nil {
		log.Fatal(err)
	}
	err = lease.Register(ctx, driver.Record{Incarnation: "1", Epoch: 1, Instance: discovery.Instance{
		Service: "orders", ID: "orders-1", Addresses: map[string]string{"grpc": "10.0.0.7:9000"},
	}})
	if err != nil {
		log.Fatal(err)
	}
	orders, err := resolver.Lookup(ctx, "orders")
	fmt.Println(shown(orders.Instances), "held:", orders.Held, err)

	err = errors.Join(err, lease.Revoke(ctx)) // as the registry does when the process is dead
	for orders.Held == 0 && err == nil {
		time.Sleep(time.Millisecond)
		orders, err = resolver.Lookup(ctx, "orders")
	}
	fmt.Println(shown(orders.Instances), "held:", orders.Held, err)

	for range 3 {
		resolver.Report("orders", "orders-1", false) // a connection has failed
	}
	orders, err = resolver.Lookup(ctx, "orders")
	fmt.Println(len(orders.Instances), "held:", orders.Held, err)
	// Output:
	// orders-1 up held: 0 <nil>
	// orders-1 up held: 1 <nil>
	// 0 held: 0 <nil>
}

// Static instances replace the registry in tests, and for a service that never moves.
func ExampleStatic() {
	registry, err := discovery.Static(discovery.Instance{
		Service: "payments", ID: "bank", Addresses: map[string]string{"http": "bank.example:443"},
	})
	if err != nil {
		log.Fatal(err)
	}
	resolver, err := discovery.NewResolver(registry, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer resolver.Close()

	payments, err := resolver.Lookup(context.Background(), "payments")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(payments.Instances[0].Addresses["http"])
	// Output: bank.example:443
}
