package relay_test

import (
	"os"
	"testing"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

func TestMain(m *testing.M) {
	if err := netnstest.Alone(); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
