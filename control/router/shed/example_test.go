package shed_test

import (
	"context"
	"fmt"

	"github.com/go-os/go-os/control/router/shed"
	"github.com/go-os/go-os/telemetry"
)

// A server with room for two requests refuses the third, but finds a place for one that is more important.
func Example() {
	shedder, err := shed.New(&shed.Options{MinLimit: 1, InitialLimit: 2, Telemetry: telemetry.Off()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = shedder.Close() }()
	ctx := context.Background()
	for _, priority := range []shed.Priority{shed.Normal, shed.Normal, shed.Normal, shed.Critical} {
		admission, ok := shedder.Admit(ctx, priority)
		fmt.Println(priority, ok)
		defer admission.Done(shed.Success) // does nothing if the request was refused
	}
	// Output:
	// normal true
	// normal true
	// normal false
	// critical true
}
