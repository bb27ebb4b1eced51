package upstream

import (
	"crypto/tls"
	"sync"
)

// maxSessions bounds the sessions kept; one beyond it takes another's place.
const maxSessions = 4096

// sessionKey is what a TLS session may be resumed for: an equal Key, and so the
// same profile version, within one generation of the pool.
type sessionKey struct {
	Key
	gen uint64
}

// session is a ticket and the client certificate that stands behind it.
type session struct {
	state     *tls.ClientSessionState
	presented [32]byte
}

// sessions is the store behind every handshake of a pool. The zero value is
// ready.
type sessions struct {
	mu  sync.Mutex
	gen uint64
	m   map[sessionKey]session
}

func (s *sessions) get(k sessionKey) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.m[k]
	return e, ok
}

// put keeps e, unless its generation is over; a nil state removes the entry.
func (s *sessions) put(k sessionKey, e session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.state == nil || k.gen != s.gen {
		delete(s.m, k)
		return
	}
	if s.m == nil {
		s.m = make(map[sessionKey]session)
	}
	if _, known := s.m[k]; !known && len(s.m) >= maxSessions {
		for other := range s.m {
			delete(s.m, other)
			break
		}
	}
	s.m[k] = e
}

func (s *sessions) retire(gen uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gen = max(s.gen, gen)
	clear(s.m)
}

// Get makes a handshake a tls.ClientSessionCache. crypto/tls's own key (the
// server name) says too little; ours is used.
func (h *handshake) Get(string) (*tls.ClientSessionState, bool) {
	e, ok := h.pool.sessions.get(h.session)
	h.resumable = e.presented
	return e.state, ok
}

// Put keeps a ticket; crypto/tls calls it in the handshake or, in TLS 1.3, during
// a later Read.
func (h *handshake) Put(_ string, cs *tls.ClientSessionState) {
	if cs != nil && h.tooLarge(cs) {
		return
	}
	h.pool.sessions.put(h.session, session{cs, h.presented})
}
