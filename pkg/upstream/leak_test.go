package upstream

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

func TestMain(m *testing.M) {
	if err := netnstest.Alone(); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}
