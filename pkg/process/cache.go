package process

import (
	"sync"
	"time"

	"github.com/outwarden/outwarden/pkg/flow"
)

// key is all that the kernel says of a caller. An identity stands for one key:
// exec changes the executable, setuid the uid, a migration the cgroup.
type key struct {
	start  time.Duration
	exe    flow.ExeID
	cgroup uint64
	uid    uint32
}

func keyOf(f *flow.Flow) key {
	return key{f.Caller.Start, f.Caller.Exe, f.Cgroup, f.Caller.UID}
}

// entry is what is known of one pid under one key.
type entry struct {
	key key
	id  *Identity
}

// memory is what an exec event taught of one process image.
type memory struct {
	start time.Duration
	image image
	argv  []string
}

const (
	shards       = 16
	perPID       = 4 // identities and images kept of one pid
	minShardSize = perPID
)

// cache holds identities and remembered images by pid, in shards so that
// connections of different processes do not wait for each other.
type cache [shards]shard

type shard struct {
	mu      sync.RWMutex
	limit   int // pids
	entries map[uint32][]entry
	images  map[uint32][]memory
}

func newCache(limit int) *cache {
	var c cache
	for i := range c {
		c[i].limit = max(limit/shards, minShardSize)
		c[i].entries = make(map[uint32][]entry)
		c[i].images = make(map[uint32][]memory)
	}
	return &c
}

func (c *cache) shard(pid uint32) *shard { return &c[pid%shards] }

func (c *cache) get(pid uint32, k key) *Identity {
	s := c.shard(pid)
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, e := range s.entries[pid] {
		if e.key == k {
			return e.id
		}
	}
	return nil
}

func (c *cache) put(pid uint32, k key, id *Identity) {
	s := c.shard(pid)
	s.mu.Lock()
	defer s.mu.Unlock()
	makeRoom(s.entries, pid, s.limit)
	s.entries[pid] = keepLast(s.entries[pid], entry{k, id})
}

// remember keeps the image that pid got by exec.
func (c *cache) remember(pid uint32, m memory) {
	s := c.shard(pid)
	s.mu.Lock()
	defer s.mu.Unlock()
	makeRoom(s.images, pid, s.limit)
	s.images[pid] = keepLast(s.images[pid], m)
}

// recall finds the image of an earlier exec of the same process.
func (c *cache) recall(pid uint32, start time.Duration, exe flow.ExeID) (memory, bool) {
	s := c.shard(pid)
	s.mu.RLock()
	defer s.mu.RUnlock()
	known := s.images[pid]
	for i := len(known) - 1; i >= 0; i-- {
		if m := known[i]; m.start == start && m.image.id.ExeID == exe {
			return m, true
		}
	}
	return memory{}, false
}

// forget drops the identities of a process, and its images too if it left.
func (c *cache) forget(pid uint32, start time.Duration, left bool) {
	s := c.shard(pid)
	s.mu.Lock()
	defer s.mu.Unlock()
	drop(s.entries, pid, func(e entry) bool { return e.key.start == start })
	if left {
		drop(s.images, pid, func(m memory) bool { return m.start == start })
	}
}

// len counts the pids with identities; for tests.
func (c *cache) len() (n int) {
	for i := range c {
		c[i].mu.RLock()
		n += len(c[i].entries)
		c[i].mu.RUnlock()
	}
	return n
}

// makeRoom evicts arbitrary pids: what is evicted is only read again.
func makeRoom[T any](m map[uint32][]T, pid uint32, limit int) {
	if _, ok := m[pid]; ok {
		return
	}
	for old := range m {
		if len(m) < limit {
			return
		}
		delete(m, old)
	}
}

// keepLast appends to a fresh slice: readers may still hold the old one.
func keepLast[T any](old []T, v T) []T {
	old = old[max(0, len(old)-perPID+1):]
	return append(append(make([]T, 0, len(old)+1), old...), v)
}

func drop[T any](m map[uint32][]T, pid uint32, gone func(T) bool) {
	var kept []T
	for _, v := range m[pid] {
		if !gone(v) {
			kept = append(kept, v)
		}
	}
	if len(kept) == 0 {
		delete(m, pid)
		return
	}
	m[pid] = kept
}
