package wire

const recordHeader = 5 // RFC 8446 section 5.1

// records follows the boundaries of TLS records in what is given to crypto/tls, so
// that it is known whether that may still hold bytes that nobody asked for.
//
// crypto/tls calls Read only when it holds no complete record. So after a Read
// that ended exactly one record, on the boundary, nothing can be left in it.
type records struct {
	slack  bool // the last Read may have left bytes inside crypto/tls
	header [recordHeader]byte
	have   int // bytes of header seen
	body   int // bytes of the current record still to come
}

// follow advances over b.
func (r *records) follow(b []byte) {
	ends := 0
	for len(b) > 0 {
		if r.body > 0 {
			n := min(r.body, len(b))
			r.body -= n
			b = b[n:]
		} else {
			n := copy(r.header[r.have:], b)
			r.have += n
			b = b[n:]
			if r.have < recordHeader {
				break
			}
			r.have = 0
			r.body = int(r.header[3])<<8 | int(r.header[4])
		}
		if r.body == 0 {
			ends++
		}
	}
	r.slack = ends > 1 || r.body > 0 || r.have > 0
}
