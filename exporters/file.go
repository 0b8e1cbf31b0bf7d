package exporters

import (
	"context"
	"errors"
)

func (p *Pipeline) buildFile(ctx context.Context, e *environ) error {
	return errors.New("exporters: OTEL_CONFIG_FILE: cannot be used yet; unset it")
}
