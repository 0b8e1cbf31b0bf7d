package discoverytest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-os/go-os/control/discovery/driver"
)

func records() []promise {
	return []promise{
		{Name: "records/found as written", Needs: Reads, Hook: "Put", Together: true, Check: foundAsWritten},
		{Name: "records/every state", Needs: Reads, Hook: "Put", Together: true, Check: everyState},
		{Name: "records/names", Needs: Reads | Names, Hook: "Put", Together: true, Check: oddNames},
		{Name: "records/services apart", Needs: Reads, Hook: "Put", Together: true, Check: servicesApart},
		{Name: "records/many services", Needs: Reads, Hook: "Put", Together: true, Check: manyServices},
		{Name: "records/registered once", Needs: Writes | Reads, Check: registeredOnce},
		{Name: "records/altered by hand", Needs: Writes | Reads, Hook: "Write", Together: true, Check: alteredByHand},
		{Name: "records/removed by hand", Needs: Writes | Reads, Hook: "Remove", Together: true, Check: removedByHand},
		{Name: "records/spoilt by hand", Needs: Writes | Reads, Hook: "Spoil", Together: true, Check: spoiltByHand},
	}
}

// foundAsWritten writes unusual but valid values in every field.
func foundAsWritten(r *rig) {
	service := r.service("odd")
	labels := map[string]string{}
	for n := range 64 {
		labels[fmt.Sprintf("label-%02d", n)] = strings.Repeat("v", 100)
	}
	var want []driver.Record
	for n, change := range []func(*driver.Instance){
		func(*driver.Instance) {},
		func(i *driver.Instance) { i.Version, i.Zone, i.Labels, i.Weight = "", "", nil, 0 },
		func(i *driver.Instance) { i.Weight = 1_000_000 },
		func(i *driver.Instance) { i.Version, i.Zone = `v1.0+"b"/\<&>`, "zone é 世界 \u2028 🙂" },
		func(i *driver.Instance) {
			i.Labels = map[string]string{"empty": "", "a b": "x=y,z", "ключ": "значение", "quote\"": "\\\"\n\t"}
		},
		func(i *driver.Instance) { i.Labels = labels },
		func(i *driver.Instance) {
			i.Addresses = map[string]string{"grpc": "10.0.0.7:9000", "http": "orders.example.org:80", "admin.v2": "[2001:db8::1]:65535"}
		},
		func(i *driver.Instance) { i.Addresses = map[string]string{"x": "h:1"} },
	} {
		i := instance(service, fmt.Sprintf("i%d", n))
		change(&i)
		want = append(want, r.put(i))
	}
	r.watch(service).shows(want...)
}

func everyState(r *rig) {
	service := r.service("states")
	v := r.watch(service).sync()
	i := instance(service, "i")
	for _, state := range []driver.State{driver.Up, driver.Unhealthy, driver.Draining, driver.Unhealthy, driver.Up} {
		i.State = state
		v.shows(r.put(i))
	}
	i.Weight, i.Version, i.Labels = 7, "2", map[string]string{"track": "canary"}
	v.shows(r.put(i))
}

// oddNames uses every character that a name may have, and the longest names.
func oddNames(r *rig) {
	long := r.service(strings.Repeat("s", 128-len(r.service(""))))
	for _, service := range []string{r.service("Orders.v2:eu_1-x"), r.service("."), long} {
		var want []driver.Record
		for _, id := range []string{"a", "A", "host-1.example.org:9000_x", ".", "..", "-", strings.Repeat("i", 128)} {
			want = append(want, r.put(instance(service, id)))
		}
		r.watch(service).shows(want...)
	}
}

// servicesApart registers one ID with services that share a name prefix.
func servicesApart(r *rig) {
	want := map[string]driver.Record{}
	for _, name := range []string{"order", "orders", "orders-eu", "Order"} {
		if name == "Order" && !r.Has(Names) {
			continue
		}
		service := r.service(name)
		want[service] = r.put(instance(service, "i"))
	}
	for service, record := range want {
		r.watch(service).shows(record)
	}
}

func manyServices(r *rig) {
	const services, instances = 20, 5
	want := map[string][]driver.Record{}
	for n := range services {
		service := r.service(fmt.Sprintf("s%d", n))
		for i := range instances {
			want[service] = append(want[service], r.put(instance(service, fmt.Sprintf("i%d", i))))
		}
	}
	for service, all := range want {
		r.watch(service).shows(all...)
	}
	if r.Has(Writes) {
		r.lists(slices.Sorted(maps.Keys(want)))
	}
}

// lists fails the test if a reader that can name services does not name these, in order.
func (r *rig) lists(want []string) {
	r.Helper()
	reader := r.Registry.Reader(r)
	defer func() { r.close("Reader", reader.Close) }()
	lister, ok := reader.(driver.Lister)
	if !ok {
		return
	}
	all, err := lister.Services(r.context())
	if err != nil {
		r.Errorf("Services: %v", err)
		return
	}
	ours := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return !strings.HasPrefix(name, r.run) })
	if !slices.Equal(ours, want) || !slices.IsSorted(all) {
		r.Errorf("Services returns %q, want %q among others, sorted", all, want)
	}
}

// registeredOnce registers a record that already exists: no reader sees a change.
func registeredOnce(r *rig) {
	service := r.service("once")
	p := r.process()
	record := p.register(p.record(service, "i"))
	v := r.watch(service)
	v.shows(record)
	own := r.watchOwn(p, record)
	own.settle()
	for range 3 {
		p.register(record)
	}
	v.quiet(r.blink(), "a record was registered again as it is")
	own.quiet("a record was registered again as it is")
}

func alteredByHand(r *rig) {
	service := r.service("altered")
	p := r.process()
	record := p.register(p.record(service, "i"))
	v := r.watch(service)
	v.shows(record)
	altered := record
	altered.Zone, altered.Weight = "elsewhere", 1
	r.Write(r, altered)
	v.shows(altered)
	v.shows(p.register(record))
	r.Write(r, record) // alike, but it does not live with the lease
	p.register(record)
	p.die()
	r.is(p.Revoke(r.context()), nil, "Revoke")
	v.shows()
}

func removedByHand(r *rig) {
	service := r.service("removed")
	p := r.process()
	record := p.register(p.record(service, "i"))
	v := r.watch(service)
	v.shows(record)
	for range 3 {
		r.Remove(r, service, "i")
		v.shows()
		v.shows(p.register(record))
	}
}

// spoiltByHand overwrites a record with data that cannot be decoded. Its process sees that and rewrites it.
func spoiltByHand(r *rig) {
	service := r.service("spoilt")
	p := r.process()
	record := p.register(p.record(service, "i"))
	v := r.watch(service)
	v.shows(record)
	o := r.watchOwn(p, record)
	o.settle()
	place := r.Spoil(r, service, "i")
	o.expect("it was spoilt")
	v.until("the malformed record", func() error { return v.invalidAt(place) })
	p.register(record)
	v.until("the repaired record", func() error { return v.invalidAt("") })
	v.shows(record)
}
