package audit

import "time"

// clock writes times as RFC 3339 with nanoseconds, in UTC. Records come many to
// the second, so all but the fraction is kept from the one before.
type clock struct {
	second int64
	stamp  []byte // of second, without the Z
}

func (c *clock) append(b []byte, t time.Time) []byte {
	if s := t.Unix(); s != c.second || c.stamp == nil {
		c.second = s
		c.stamp = t.UTC().AppendFormat(c.stamp[:0], "2006-01-02T15:04:05")
	}
	b = append(b, c.stamp...)
	return append(fraction(b, uint64(t.Nanosecond()), 9), 'Z')
}
