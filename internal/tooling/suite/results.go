package suite

import "sync"

// Results are the outcomes of the promises, each list in the order of the contract. A promise that failed or was left out is in none.
type Results struct {
	// Kept are the promises that were checked and held.
	Kept []string
	// Refused are the promises about abilities that the driver does not declare.
	Refused []string
	// Untried are the promises that could not be checked, with the hook that the Backend lacks.
	Untried map[string]string
}

// outcome is the outcome of one promise.
type outcome struct {
	refused bool
	hook    string // missing from the Backend
}

// outcomes collects the outcomes of promises that may run at the same time.
type outcomes struct {
	mu  sync.Mutex
	all map[string]outcome // by the promise's name
}

func (o *outcomes) set(name string, one outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all == nil {
		o.all = map[string]outcome{}
	}
	o.all[name] = one
}

// results sorts the outcomes by the order of the names.
func (o *outcomes) results(names []string) Results {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := Results{Untried: map[string]string{}}
	for _, name := range names {
		switch one, ok := o.all[name]; {
		case !ok:
		case one.refused:
			r.Refused = append(r.Refused, name)
		case one.hook != "":
			r.Untried[name] = one.hook
		default:
			r.Kept = append(r.Kept, name)
		}
	}
	return r
}
