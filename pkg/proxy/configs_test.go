package proxy

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestTicketKeysLiveADay: no config, and so no ticket key, is used for longer.
func TestTicketKeysLiveADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s configs
		key := configKey{name: "api.example.com", alpn: "h2"}
		first := s.get(key, nil)
		time.Sleep(ticketLife - time.Second)
		if s.get(key, nil) != first {
			t.Error("a config is made anew before its time")
		}
		for i := range generation { // it is in the aged half now
			s.get(configKey{name: fmt.Sprint("host-", i), alpn: "h2"}, nil)
		}
		if s.get(key, nil) != first {
			t.Error("a config that is used is lost")
		}
		time.Sleep(time.Second)
		second := s.get(key, nil)
		if second == first {
			t.Error("a config outlived the day")
		}
		if s.get(key, nil) != second {
			t.Error("the new one is not kept")
		}
	})
}
