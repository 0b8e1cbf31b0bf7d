package etcdkv

import (
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/connectivity"
)

// redialEvery is the shortest time between two attempts to connect that failed requests cause.
const redialEvery = time.Second

// redialer ends gRPC's wait before it connects again. That wait grows to two minutes in a long outage, which is longer than most leases:
// without a redialer, nobody could renew or register for as long after etcd has returned. Callers have a backoff of their own.
type redialer struct {
	last atomic.Int64 // time of the last attempt, in nanoseconds since the epoch
}

// failed is called after a request has failed.
func (r *redialer) failed(client *clientv3.Client) {
	conn := client.ActiveConnection()
	if conn.GetState() != connectivity.TransientFailure {
		return
	}
	now, last := time.Now().UnixNano(), r.last.Load()
	if age := now - last; age >= 0 && age < int64(redialEvery) || !r.last.CompareAndSwap(last, now) {
		return
	}
	conn.ResetConnectBackoff()
}
