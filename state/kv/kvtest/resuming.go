package kvtest

import (
	"fmt"

	"github.com/go-os/go-os/state/kv"
	"github.com/go-os/go-os/state/kv/driver"
)

func resuming() []promise {
	return []promise{
		{Name: "resume/from a position", Needs: driver.Watch | driver.ExactEvents, Check: resumePosition},
		{Name: "resume/from an item", Needs: driver.Watch | driver.ExactEvents, Check: resumeVersion},
		{Name: "resume/what was compacted", Needs: driver.Watch, Hook: "Compact", Check: resumeCompacted},
		{Name: "resume/a place that never was", Needs: driver.Watch, Check: resumeNowhere},
	}
}

// resumePosition leaves a watch after each event and resumes from its position. No event is lost or repeated.
func resumePosition(r *rig) {
	first := r.watchPrefix("r/")
	at := first.expect("synced").Position
	if at == 0 {
		r.Fatal("Synced has no position to go on from")
	}
	first.stop()
	first.expect("ended")
	var want []string
	for i := range 6 {
		r.put(fmt.Sprintf("r/%d", i%2), fmt.Sprint(i))
		r.put("elsewhere", fmt.Sprint(i))
		want = append(want, fmt.Sprintf("put r/%d %d", i%2, i))
	}
	r.delete("r/0")
	want = append(want, "delete r/0")
	for i, one := range want {
		w := r.watchPrefix("r/", kv.From(at))
		ev := w.expect("synced", one)
		w.expect(want[i+1:]...)
		w.quiet()
		w.stop()
		w.expect("ended")
		at = ev.Position
	}
	w := r.watchPrefix("r/", kv.From(at))
	w.expect("synced")
	w.quiet()
}

func resumeVersion(r *rig) {
	r.put("k", "1")
	it := r.holds("k", "1")
	r.put("other", "x")
	r.put("k", "2")
	w := r.watchKey("k", kv.From(it.Version))
	w.expect("synced", "put k 2")
	w.quiet()
}

// resumeCompacted resumes from a position that the engine has discarded. The watch resyncs, and its view becomes correct.
func resumeCompacted(r *rig) {
	w := r.watchPrefix("")
	w.expect("synced")
	r.put("stays", "1")
	at := w.expect("put stays 1").Position
	w.stop()
	r.put("comes", "1")
	r.put("goes", "1")
	r.delete("goes")
	r.put("stays", "2")
	r.Compact(r, r.driver)
	w = r.watchPrefix("", kv.From(at))
	w.expect("resync", "put comes 1", "put stays 2", "synced")
	r.put("stays", "3")
	w.expect("put stays 3")
	w.quiet()
	r.event("goos.kv.watch.resync")
}

// resumeNowhere resumes from a version of another store. The engine must not treat an unknown version as the present.
func resumeNowhere(r *rig) {
	r.put("k", "1")
	w := r.watchKey("k", kv.From(1<<62))
	w.expect("resync", "put k 1", "synced")
}
