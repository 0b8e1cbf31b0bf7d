package readnodev1

import (
	"fmt"

	"github.com/go-os/go-os/control/discovery/driver"
)

// FromRecord returns the message of a record.
func FromRecord(r driver.Record) *Record {
	return &Record{
		Id: r.ID, Version: r.Version, Addresses: r.Addresses, Zone: r.Zone, Weight: int64(r.Weight), Labels: r.Labels,
		State: State(r.State) + State_STATE_UP, Incarnation: r.Incarnation, Epoch: r.Epoch,
	}
}

// Decode returns the record of a service. It returns driver.ErrInvalid for a state that a newer node may know.
func (r *Record) Decode(service string) (driver.Record, error) {
	out := driver.Record{
		Instance: driver.Instance{
			Service: service, ID: r.GetId(), Version: r.GetVersion(), Addresses: r.GetAddresses(), Zone: r.GetZone(),
			Weight: int(r.GetWeight()), Labels: r.GetLabels(),
		},
		Incarnation: r.GetIncarnation(), Epoch: r.GetEpoch(),
	}
	if r.GetState() < State_STATE_UP || r.GetState() > State_STATE_GONE {
		return out, fmt.Errorf("%w: unknown state %d: update the client of the read node", driver.ErrInvalid, r.GetState())
	}
	out.State = driver.State(r.GetState() - State_STATE_UP)
	return out, nil
}
