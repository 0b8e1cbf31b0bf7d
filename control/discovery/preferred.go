package discovery

// WithProtocol accepts the instances that have an address of this protocol.
func WithProtocol(protocol string) Filter {
	return func(i *Instance) bool { return i.Addresses[protocol] != "" }
}

// Preferred returns the instances that new requests should go to, of those that all filters accept, ordered by ID. These are the available
// ones. If there are none it returns the unhealthy ones, else the draining ones, else the ones of weight zero. A request to any of them
// may succeed.
func (s *Snapshot) Preferred(filters ...Filter) []Instance {
	view := View{filters: filters}
	var byRank [ranks][]Instance
	for i := range s.Instances {
		if instance := &s.Instances[i]; view.accepts(instance) {
			r := rank(instance)
			byRank[r] = append(byRank[r], *instance)
		}
	}
	for _, instances := range byRank {
		if len(instances) > 0 {
			return instances
		}
	}
	return nil
}

// ranks is how many ranks there are.
const ranks = 4

// rank orders instances by their claim to new requests: a lower one is better.
func rank(i *Instance) int {
	switch {
	case Available(i):
		return 0
	case i.Weight == 0:
		return ranks - 1
	case i.State == Unhealthy:
		return 1
	}
	return 2
}
