package etcdkv

import (
	"sync"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// history tells whether a revision belongs to the present cluster. A cluster that has replaced another one counts its revisions anew. Once it
// has passed the revision of a watch, etcd resumes that watch as if it had missed nothing.
//
// The headers of linearizable reads show a replacement: the ID of the cluster differs, or its raft term or its revision is lower. The IDs are
// equal if the new cluster has the token and the addresses of the old one.
type history struct {
	mu      sync.Mutex
	cluster uint64
	newest  moment // seen of this cluster
	foreign int64  // the greatest revision seen of earlier ones
}

// moment is a point in the life of a cluster.
type moment struct {
	term     uint64
	revision int64
}

// latest returns what is known before a read is sent.
func (h *history) latest() moment {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.newest
}

// observe takes the header of a linearizable read, and what was known before it was sent. It reports whether a position may belong to an
// earlier cluster. A position of the present cluster counts as foreign, too, until that cluster has passed its predecessor. Its watch then
// resyncs instead of resuming.
func (h *history) observe(header *etcdserverpb.ResponseHeader, known moment, position int64) (foreign bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cluster != 0 && (header.ClusterId != h.cluster || header.RaftTerm < known.term || header.Revision < known.revision) {
		h.foreign = max(h.foreign, h.newest.revision, position)
		h.newest = moment{}
	}
	h.cluster = header.ClusterId
	h.newest = moment{max(h.newest.term, header.RaftTerm), max(h.newest.revision, header.Revision)}
	return position != 0 && position <= h.foreign
}

// advance takes the header of a response to a watch, which may lag. It reports whether the response is from the present cluster.
func (h *history) advance(header *etcdserverpb.ResponseHeader) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if header.ClusterId != h.cluster {
		return false
	}
	h.newest.revision = max(h.newest.revision, header.Revision)
	return true
}
