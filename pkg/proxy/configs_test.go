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
		first := s.get("api.example.com", "h2", nil)
		time.Sleep(ticketLife - time.Second)
		if s.get("api.example.com", "h2", nil) != first {
			t.Error("a config is made anew before its time")
		}
		for i := range generation { // it is in the aged half now
			s.get(fmt.Sprint("host-", i), "h2", nil)
		}
		if s.get("api.example.com", "h2", nil) != first {
			t.Error("a config that is used is lost")
		}
		time.Sleep(time.Second)
		second := s.get("api.example.com", "h2", nil)
		if second == first {
			t.Error("a config outlived the day")
		}
		if s.get("api.example.com", "h2", nil) != second {
			t.Error("the new one is not kept")
		}
	})
}
