package consuldiscovery

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/go-os/go-os/control/discovery/driver"
)

// TestTextOfMalformedRecord checks that an error repeats only a short part of the record: readers keep, send and log it.
func TestTextOfMalformedRecord(t *testing.T) {
	t.Parallel()
	meta := map[string]string{metaID: "i", metaIncarnation: "x", metaEpoch: "1", metaRevision: "1", metaState: "up"}
	for n, part := range split(`{"weight": ` + strings.Repeat("9", 20_000) + `}`) {
		meta[fmt.Sprintf("%s%02d", metaRecord, n)] = part
	}
	_, _, err := decode(&api.AgentService{Service: "orders", Meta: meta})
	if !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), "number 999") || len(err.Error()) > 512 {
		t.Errorf("an error of %d bytes: %.300v", len(err.Error()), err)
	}
}
