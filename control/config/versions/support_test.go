package versions_test

import (
	"errors"
	"testing"

	"github.com/go-os/go-os/control/config"
	"github.com/go-os/go-os/control/config/versions"
	"github.com/go-os/go-os/telemetry"
)

// service is the configuration of most tests.
type service struct {
	Name    string `default:"orders"`
	Retries int    `default:"3" validate:"min=0,max=10"`
	Mode    string `default:"fast" validate:"oneof=fast safe"`
	DB      struct {
		MaxConns uint16 `default:"10" validate:"min=1"`
		Password config.Secret[string]
	}
	Prices map[string]price
	Tags   []string
	Upload config.Size `default:"1MiB"`
}

type price struct {
	Cents    int64  `validate:"gt=0"`
	Currency string `default:"EUR"`
}

func (s *service) Validate() error {
	if s.Mode == "safe" && s.Retries == 0 {
		return errors.New("mode safe needs retries")
	}
	return nil
}

func options(sources ...config.Source) *config.Options {
	return &config.Options{Sources: sources, Telemetry: telemetry.Off()}
}

func load(t testing.TB, sources ...config.Source) *config.Config[service] {
	t.Helper()
	cfg, err := config.Load[service](t.Context(), options(sources...))
	must(t, err)
	return cfg
}

func publish(t testing.TB, v *versions.Layer, text string) versions.Version {
	t.Helper()
	published, err := v.Publish(t.Context(), versions.Draft{Document: text, Format: config.YAML, Author: "ada"})
	must(t, err)
	return published
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func second[T any](_ T, err error) error { return err }
