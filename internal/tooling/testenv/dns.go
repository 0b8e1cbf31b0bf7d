package testenv

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// DNSHandle is a running Knot DNS, the authoritative server of one zone, over UDP and TCP.
type DNSHandle struct {
	*Process
	zone *zoneFile
}

// zoneFile is the content of the zone.
type zoneFile struct {
	name    string // with a dot at the end
	records string
	serial  int
	dropped bool
}

// DNS starts a DNS server for the test. zone is the name of its zone, such as "example.". records are the records of the zone in zone file
// format, without SOA and NS. Their default TTL is one second.
func DNS(t testing.TB, zone, records string) *DNSHandle {
	t.Helper()
	z := &zoneFile{name: zone, records: records, serial: 1}
	return &DNSHandle{Process: start(t, dnsEngine(z)), zone: z}
}

// SetZone replaces the records of the zone, and returns when the server answers with the new ones.
func (d *DNSHandle) SetZone(records string) {
	d.t.Helper()
	d.zone.records, d.zone.dropped = records, false
	d.zone.serial++
	d.reload()
	Eventually(d.t, patience, "the new zone", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), readyProbe)
		defer cancel()
		return d.zone.served(ctx, d.Addr(0))
	})
}

// DropZone makes the server refuse questions about the zone, until SetZone.
func (d *DNSHandle) DropZone() {
	d.t.Helper()
	d.zone.dropped = true
	d.reload()
	Eventually(d.t, patience, "the end of the zone", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), readyProbe)
		defer cancel()
		serial, err := d.zone.answered(ctx, d.Addr(0))
		if err == nil {
			return fmt.Errorf("the server still has the zone, with serial %s", serial)
		}
		return nil
	})
}

func (d *DNSHandle) reload() {
	d.t.Helper()
	if err := d.zone.write(d.place); err != nil {
		d.t.Fatal(err)
	}
	signal(d.current().process, syscall.SIGHUP)
}

func dnsEngine(zone *zoneFile) *Engine {
	return &Engine{
		Name:    "knotd",
		Weight:  Installed,
		Command: knotCommand(),
		Remedy:  "apt-get install knot",
		Ports:   1,
		Prepare: zone.write,
		Args:    func(p Place) []string { return []string{"-c", p.File("knot.conf")} },
		Ready:   func(ctx context.Context, p Place) error { return zone.served(ctx, p.Addr(0)) },
	}
}

// knotCommand returns the path of the program on Debian, where only root's PATH has it.
func knotCommand() string {
	const debian = "/usr/sbin/knotd"
	if _, err := os.Stat(debian); err == nil {
		return debian
	}
	return "knotd"
}

// write writes the configuration and the zone file.
func (z *zoneFile) write(p Place) error {
	config := fmt.Sprintf(`server:
  listen: 127.0.0.1@%d
  rundir: %s
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
database:
  storage: %s
log:
  - target: stderr
    any: error
`, p.Ports[0], p.Dir, p.File("db"))
	if !z.dropped {
		config += fmt.Sprintf(`zone:
  - domain: %s
    storage: %s
    file: %s
    zonefile-load: whole
    journal-content: none
`, z.name, p.Dir, p.File("zone"))
	}
	zone := fmt.Sprintf("$ORIGIN %s\n$TTL 1\n@ SOA ns admin %d 60 60 600 1\n@ NS ns\nns A 127.0.0.1\n_serial TXT \"%d\"\n%s\n", z.name, z.serial, z.serial, z.records)
	if err := replace(p.File("zone"), zone); err != nil {
		return err
	}
	return replace(p.File("knot.conf"), config)
}

// replace writes a file that a server may be reading.
func replace(name, text string) error {
	next := filepath.Join(filepath.Dir(name), ".next")
	if err := os.WriteFile(next, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(next, name)
}

// served returns nil once the server has the zone as written last.
func (z *zoneFile) served(ctx context.Context, server string) error {
	serial, err := z.answered(ctx, server)
	if err == nil && serial != strconv.Itoa(z.serial) {
		err = fmt.Errorf("the server has serial %s of the zone, want %d", serial, z.serial)
	}
	return err
}

// answered returns the serial of the zone that the server has.
func (z *zoneFile) answered(ctx context.Context, server string) (string, error) {
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: time.Second}).DialContext(ctx, network, server)
	}}
	texts, err := resolver.LookupTXT(ctx, "_serial."+z.name)
	slices.Sort(texts)
	return strings.Join(texts, ","), err
}
