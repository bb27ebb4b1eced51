package inject

import (
	"fmt"
	"strings"

	"github.com/outwarden/outwarden/pkg/secret"
)

// addCookie claims one cookie of the Cookie field; the workload keeps its others.
func (p *Plan) addCookie(c *Credential) error {
	if err := checkToken(c.Field); err != nil {
		return err
	}
	if !cookieValue(c.Value.Reveal()) {
		return fmt.Errorf("not the value of a cookie (RFC 6265 section 4.1.1): %w", ErrValue)
	}
	for i := range p.cookies {
		if p.cookies[i].name == c.Field {
			return fmt.Errorf("cookie %s: %w", c.Field, ErrSlotTaken)
		}
	}
	if len(p.cookies) == 0 {
		if err := p.take("cookie"); err != nil {
			return err
		}
	}
	p.cookies = append(p.cookies, rendered{c.Field, secret.New(append([]byte(c.Field+"="), c.Value.Reveal()...))})
	return nil
}

// cookieValue reports whether v has only cookie-octets.
func cookieValue(v []byte) bool {
	for _, c := range v {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`",;\`, c) >= 0 {
			return false
		}
	}
	return true
}

// addCookies writes one Cookie field: the cookies that are ours, and behind them what
// the workload sent beside. In front, since to some readers a quote or a byte that is
// no cookie's takes along what follows it. Placeholders in theirs are replaced.
func (p *Plan) addCookies(m Message, theirs []string, h *hits) {
	var jar []byte
	add := func(pair []byte) {
		if len(jar) > 0 {
			jar = append(jar, "; "...)
		}
		jar = append(jar, pair...)
	}
	for i := range p.cookies {
		add(p.cookies[i].value.Reveal())
	}
	for _, line := range theirs {
		for pair := range strings.SplitSeq(line, ";") {
			if pair = strings.Trim(pair, " \t"); pair != "" && !p.ownsCookie(pair) {
				pair, _ = p.swapField("cookie", pair, h)
				add([]byte(pair))
			}
		}
	}
	m.Add("Cookie", jar)
}

func (p *Plan) ownsCookie(pair string) bool {
	name, _, _ := strings.Cut(pair, "=")
	name = strings.Trim(name, ` "`)
	for i := range p.cookies {
		if p.cookies[i].name == name {
			return true
		}
	}
	return false
}
