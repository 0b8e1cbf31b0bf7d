package statistics

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

var epoch = time.Date(2026, 11, 28, 3, 0, 0, 0, time.UTC)

func newOrders() *Service { return newService("orders", "http", epoch) }

// total adds the rows of reports.
func total(reports []Report) (sum MethodReport) {
	for i := range reports {
		r := &reports[i]
		for j := range r.Unrouted {
			sum.Merge(&r.Unrouted[j])
		}
		for j := range r.Endpoints {
			for k := range r.Endpoints[j].Methods {
				sum.Merge(&r.Endpoints[j].Methods[k])
			}
		}
	}
	return sum
}

// TestReport is the form of a report, which other programs read.
func TestReport(t *testing.T) {
	s := newOrders()
	e := s.Endpoint(Identity{ID: "orders-1", Address: "10.0.0.7:80", Zone: "eu-1a", Version: "2.1"})
	get := s.Method("/orders/{id}")
	for range 3 {
		e.Record(get, Success, 2*time.Millisecond)
	}
	e.Record(get, Fault, time.Microsecond) // no sample
	e.Record(get, Timeout, time.Second)
	e.Record(get, Overload, time.Microsecond) // no sample
	e.Record(get, Dropped, time.Second)       // no sample
	e.Record(get, Success, -1)                // a stream
	s.Unrouted(s.Method("/orders"))
	reports := s.take(epoch.Add(10*time.Second), 100)
	text, err := json.Marshal(reports)
	if err != nil {
		t.Fatal(err)
	}
	counts := "3" + strings.Repeat(",0", bucketOf(time.Second)-bucketOf(2*time.Millisecond)-1) + ",1"
	want := `[{"version":1,"client":"","run":"","service":"orders","protocol":"http","sequence":0,` +
		`"from":"2026-11-28T03:00:00Z","to":"2026-11-28T03:00:10Z","endpoints":[` +
		`{"id":"orders-1","address":"10.0.0.7:80","zone":"eu-1a","version":"2.1","methods":[` +
		`{"method":"/orders/{id}","success":4,"error":3,"timeout":1,"overload":1,"dropped":1,` +
		fmt.Sprintf(`"latency":{"offset":%d,"counts":[%s],"sum":1006000000}}]}],`, bucketOf(2*time.Millisecond), counts) +
		`"unrouted":[{"method":"/orders","success":0,"error":0,"dropped":1}]}]`
	if string(text) != want {
		t.Errorf("the report is\n%s\nwant\n%s", text, want)
	}
	if again := s.take(epoch.Add(20*time.Second), 100); len(again) != 0 {
		t.Errorf("without requests there is the report %+v", again)
	}
	e.Record(get, Success, 1)
	if r := s.take(epoch.Add(30*time.Second), 100)[0]; !r.From.Equal(epoch.Add(20*time.Second)) || !r.To.Equal(epoch.Add(30*time.Second)) {
		t.Errorf("the report is from %v to %v", r.From, r.To)
	}
}

// TestMethods: a service has MaxMethods names at most, and a long name is cut.
func TestMethods(t *testing.T) {
	s := newOrders()
	e := s.Endpoint(Identity{ID: "1"})
	for i := range 3 * MaxMethods {
		m := s.Method(fmt.Sprint("/", i))
		e.Record(m, Success, 1)
		want := fmt.Sprint("/", i)
		if i >= MaxMethods {
			want = OtherMethod
		}
		if m.Name() != want {
			t.Fatalf("method %d is %q, want %q", i, m.Name(), want)
		}
	}
	r := s.take(epoch, 1000)[0]
	if rows := r.Rows(); rows != MaxMethods+1 {
		t.Errorf("%d rows, want %d", rows, MaxMethods+1)
	}
	if other := r.Endpoints[0].Methods[0]; other.Method != OtherMethod || other.Success != 2*MaxMethods {
		t.Errorf("the first row is %s with %d requests", other.Method, other.Success)
	}
	if got := newOrders().Method(strings.Repeat("ż", 1000)).Name(); len(got) > maxText {
		t.Errorf("a name of %d bytes", len(got))
	}
}

// TestCells: many endpoints with many methods do not exhaust the memory, and no request is lost.
func TestCells(t *testing.T) {
	s := newOrders()
	for i := range 100 {
		e := s.Endpoint(Identity{ID: fmt.Sprint(i)})
		for j := range MaxMethods {
			e.Record(s.Method(fmt.Sprint("/", j)), Success, 1)
		}
	}
	if limit := maxCells + 100; s.cells > limit {
		t.Errorf("%d cells, want %d at most", s.cells, limit)
	}
	if sum := total(s.take(epoch, 1000)); sum.Success != 100*MaxMethods {
		t.Errorf("%d requests, want %d", sum.Success, 100*MaxMethods)
	}
}

// TestPages: a report has the given number of rows at most, and together the reports have all.
func TestPages(t *testing.T) {
	for _, limit := range []int{1, 2, 3, 7, 29, 30, 31, 1000} {
		s := newOrders()
		for i := range 10 {
			for j := range 3 {
				s.Endpoint(Identity{ID: fmt.Sprint(i)}).Record(s.Method(fmt.Sprint("/", j)), Success, 1)
			}
		}
		s.Unrouted(s.Method("/0"))
		reports := s.take(epoch, limit)
		if want := (31 + limit - 1) / limit; len(reports) != want {
			t.Errorf("limit %d: %d reports, want %d", limit, len(reports), want)
		}
		for i := range reports {
			if rows := reports[i].Rows(); rows > limit || rows == 0 {
				t.Errorf("limit %d: %d rows", limit, rows)
			}
		}
		if sum := total(reports); sum.Success != 30 || sum.Dropped != 1 {
			t.Errorf("limit %d: %d successes and %d dropped, want 30 and 1", limit, sum.Success, sum.Dropped)
		}
	}
}

// TestRelease: a released endpoint leaves the memory after a report without requests. One that has a request later, or returns, counts.
func TestRelease(t *testing.T) {
	s := newOrders()
	id := Identity{ID: "1"}
	e := s.Endpoint(id)
	m := s.Method("/")
	e.Record(m, Success, 1)
	e.Release()
	if n := len(s.take(epoch, 10)); n != 1 || s.endpoints[id] == nil {
		t.Fatalf("%d reports; endpoint %p: want one, and that the endpoint stays while it has requests", n, s.endpoints[id])
	}
	if n := len(s.take(epoch, 10)); n != 0 || s.endpoints[id] != nil || len(s.order) != 0 || s.cells != 0 {
		t.Fatalf("%d reports, %d endpoints, %d in order, %d cells: want none", n, len(s.endpoints), len(s.order), s.cells)
	}
	e.Record(m, Fault, 1) // was in flight
	if reports := s.take(epoch, 10); total(reports).Error != 1 || s.cells != 1 {
		t.Errorf("a request that ends after its endpoint has left: %+v with %d cells", reports, s.cells)
	}
	s.take(epoch, 10)
	if back := s.Endpoint(id); back == e {
		t.Error("the endpoint had left the memory, and is still the same")
	}
	e.Record(m, Success, 1)
	s.Endpoint(id).Record(m, Success, 1)
	if sum := total(s.take(epoch, 10)); sum.Success != 2 {
		t.Errorf("%d requests at the old and the new endpoint, want 2", sum.Success)
	}
}

// TestRestore: a report that is taken back is in the next one, and the time with it. Its endpoint may have left meanwhile.
func TestRestore(t *testing.T) {
	s := newOrders()
	e := s.Endpoint(Identity{ID: "1", Zone: "a"})
	for i := range MaxMethods + 5 {
		e.Record(s.Method(fmt.Sprint("/", i)), Outcome(i%outcomes), time.Duration(i)*time.Millisecond)
	}
	s.Unrouted(Method{})
	e.Release()
	before := s.take(epoch.Add(time.Second), 100)
	s.take(epoch.Add(2*time.Second), 100)
	for i := range before {
		s.restore(&before[i])
	}
	after := s.take(epoch.Add(3*time.Second), 100)
	if a, b := fmt.Sprint(total(before)), fmt.Sprint(total(after)); a != b {
		t.Errorf("the counts were %s, and are %s", a, b)
	}
	if !after[0].From.Equal(epoch) || after[0].Rows() != before[0].Rows() {
		t.Errorf("from %v with %d rows, want %v with %d", after[0].From, after[0].Rows(), epoch, before[0].Rows())
	}
	if after := s.take(epoch, 100); len(after) > 0 || s.endpoints[e.id] != nil {
		t.Error("the released endpoint has not left again")
	}
}

// TestConcurrent records while reports are taken and endpoints come and go. Every request is in exactly one report.
func TestConcurrent(t *testing.T) {
	const goroutines, each = 8, 4000
	s := newOrders()
	var reports []Report
	var recording, taking sync.WaitGroup
	stop := make(chan struct{})
	taking.Go(func() {
		for {
			reports = append(reports, s.take(epoch, 3)...)
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for g := range goroutines {
		recording.Go(func() {
			for i := range each {
				e := s.Endpoint(Identity{ID: fmt.Sprint(i / 200 % 3)})
				if i%50 == g {
					e.Release()
				}
				e.Record(s.Method(fmt.Sprint("/", i%5)), Outcome(i%outcomes), time.Duration(i)*time.Microsecond)
			}
		})
	}
	recording.Wait()
	close(stop)
	taking.Wait()
	sum := total(append(reports, s.take(epoch, 100)...))
	if want := uint64(goroutines * each); sum.requests() != want || sum.Latency.Count() != want*2/outcomes {
		t.Errorf("%d requests with %d latencies, want %d with %d", sum.requests(), sum.Latency.Count(), want, want*2/outcomes)
	}
}

// TestTake takes the counts of a cell all the time while others record. No count is lost.
func TestTake(t *testing.T) {
	const goroutines, each = 2, 200000
	c, sum := newCell(), MethodReport{}
	var recording sync.WaitGroup
	for range goroutines {
		recording.Go(func() {
			for i := range each {
				c.record(Success, time.Millisecond+time.Duration(i))
			}
		})
	}
	done := make(chan struct{})
	go func() { recording.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		m := c.take("")
		sum.Merge(&m)
	}
	if sum.Success != goroutines*each || sum.Latency.Count() != goroutines*each {
		t.Errorf("%d requests with %d latencies, want %d", sum.Success, sum.Latency.Count(), goroutines*each)
	}
}

// TestShards: shards that are added under contention keep all counts, and are all used.
func TestShards(t *testing.T) {
	c := newCell()
	c.record(Success, time.Millisecond)
	n := 1 << min(3, bits.Len(uint(runtime.GOMAXPROCS(0)-1)))
	c.widen(*c.shards.Load())
	c.widen(*c.shards.Load())
	for i := range 1000 {
		c.record(Success, time.Millisecond+time.Duration(i))
	}
	shards := *c.shards.Load()
	if len(shards) != n {
		t.Fatalf("%d shards, want %d", len(shards), n)
	}
	for i, s := range shards {
		if got := int(s.counts[Success].Load()); got < 500/n || got > 2000/n {
			t.Errorf("shard %d of %d has %d of 1001 requests", i, n, got)
		}
	}
	if m := c.take(""); m.Success != 1001 || m.Latency.Count() != 1001 {
		t.Errorf("%d requests with %d latencies, want 1001", m.Success, m.Latency.Count())
	}
}

// TestRecordAlloc: recording a request costs no memory.
func TestRecordAlloc(t *testing.T) {
	s := newOrders()
	e := s.Endpoint(Identity{ID: "1"})
	e.Record(s.Method("/"), Success, 1)
	if n := testing.AllocsPerRun(100, func() { e.Record(s.Method("/"), Success, time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkRecord(b *testing.B) {
	s := newOrders()
	e, m := s.Endpoint(Identity{ID: "1"}), s.Method("/orders/{id}")
	b.ReportAllocs()
	latency := time.Millisecond
	for b.Loop() {
		e.Record(m, Success, latency)
		latency++
	}
}

func BenchmarkRecordParallel(b *testing.B) {
	s := newOrders()
	e := s.Endpoint(Identity{ID: "1"})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		latency := time.Millisecond
		for pb.Next() {
			e.Record(s.Method("/orders/{id}"), Success, latency)
			latency++
		}
	})
}
