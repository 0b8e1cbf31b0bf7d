package consuldiscovery_test

import (
	"os"
	"testing"

	"github.com/go-os/go-os/internal/tooling/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Run(m)) }
