package main

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSeenIsBounded(t *testing.T) {
	s, now := newSeen(time.Minute, 3), time.Unix(1_800_000_000, 0)
	for i := range 3 {
		if got := s.add([32]byte{byte(i)}, now); got != isNew {
			t.Fatalf("digest %d: %d", i, got)
		}
	}
	if got := s.add([32]byte{9}, now); got != isFull {
		t.Errorf("fourth of three: %d, want full", got)
	}
	if got := s.add([32]byte{1}, now); got != isKnown {
		t.Errorf("known one in a full cache: %d, want known", got)
	}
}

// TestSeenRemembers: whatever the order and pace, nothing comes through twice
// within two windows.
func TestSeenRemembers(t *testing.T) {
	const window = 10 * time.Second
	rapid.Check(t, func(t *rapid.T) {
		s, now := newSeen(window, 1<<10), time.Unix(1_800_000_000, 0)
		last := map[int]time.Time{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 15).Draw(t, "pause")) * time.Second)
			n := rapid.IntRange(0, 5).Draw(t, "nonce")
			got := s.add(sha256.Sum256(fmt.Append(nil, n)), now)
			at, known := last[n]
			if got == isNew {
				last[n] = now
			}
			if got == isNew && known && now.Sub(at) <= 2*window {
				t.Fatalf("nonce %d is new again after %s", n, now.Sub(at))
			}
			if got == isKnown && !known {
				t.Fatalf("nonce %d is known and was never used", n)
			}
		}
	})
}

func TestTimeWindow(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	d := fixed(now)
	for stamp, ok := range map[string]bool{
		"1800000000": true, "1799999700": true, "1800000300": true,
		"1799999699": false, "1800000301": false, "01800000000": false, "1800000000.0": false, "": false, "-1": false,
		"1e9": false, " 1800000000": false, "99999999999999999999": false, "9223372036854775807": false,
		"-9223372036854775808": false,
	} {
		if refused := d.checkTime(stamp); (refused == nil) != ok {
			t.Errorf("timestamp %q: %+v", stamp, refused)
		}
	}
}
