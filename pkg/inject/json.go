package inject

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/outwarden/outwarden/pkg/flow"
)

// parsePointer takes a JSON pointer (RFC 6901) apart. The whole document is no
// place for a credential.
func parsePointer(pointer string) ([]string, error) {
	if !strings.HasPrefix(pointer, "/") {
		return nil, fmt.Errorf("JSON pointer %q begins with no slash: %w", pointer, ErrField)
	}
	tokens := strings.Split(pointer[1:], "/")
	for i, t := range tokens {
		for at := strings.IndexByte(t, '~'); at >= 0; at = nextTilde(t, at) {
			if at+1 == len(t) || t[at+1] != '0' && t[at+1] != '1' {
				return nil, fmt.Errorf("JSON pointer %q has a tilde that is neither ~0 nor ~1: %w", pointer, ErrField)
			}
		}
		tokens[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(t)
	}
	return tokens, nil
}

func nextTilde(t string, at int) int {
	next := strings.IndexByte(t[at+1:], '~')
	if next < 0 {
		return -1
	}
	return at + 1 + next
}

// setJSON puts value as a string where the pointer leads, in the place of what is
// there. A member that its object lacks is added; every other byte stays.
func setJSON(document []byte, path []string, value []byte) ([]byte, error) {
	if !json.Valid(document) || !utf8.Valid(document) { // some readers take a byte that is none and the next for one
		return nil, unsuitable("the body is not JSON in UTF-8")
	}
	quoted := quote(value)
	at, end, insert, err := locate(document, path)
	if err != nil {
		return nil, err
	}
	b := append(make([]byte, 0, len(document)+len(insert)+len(quoted)), document[:at]...)
	b = append(append(b, insert...), quoted...)
	return append(b, document[end:]...), nil
}

// quote is a JSON string, with no more escapes than must be.
func quote(value []byte) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(string(value)) // of a string, into memory
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// locate finds what is to be replaced in a valid document: document[at:end], by
// insert and the value.
func locate(document []byte, path []string) (at, end int, insert []byte, err error) {
	v := cursor{document, 0}
	for i, token := range path {
		last := i == len(path)-1
		switch v.space(); document[v.at] {
		case '{':
			found, err := v.member(token)
			if err != nil {
				return 0, 0, nil, err
			}
			if !found && last {
				return v.at, v.at, append(v.comma('{'), append(quote([]byte(token)), ':')...), nil
			}
			if !found {
				return 0, 0, nil, nowhere(path)
			}
		case '[':
			found, whole := v.element(token)
			switch {
			case whole && last && token == "-":
				return v.at, v.at, v.comma('['), nil
			case !found:
				return 0, 0, nil, nowhere(path)
			}
		default:
			return 0, 0, nil, nowhere(path)
		}
	}
	v.space()
	at = v.at
	v.value()
	return at, v.at, nil, nil
}

func nowhere(path []string) error {
	return unsuitable("the JSON has no place /" + strings.Join(path, "/") + " for the credential")
}

// cursor walks through a document that is known to be valid.
type cursor struct {
	document []byte
	at       int
}

func (c *cursor) space() {
	for c.at < len(c.document) && strings.IndexByte(" \t\r\n", c.document[c.at]) >= 0 {
		c.at++
	}
}

// member goes to the value of a member of the object at the cursor, or to the
// object's closing brace. One that is there twice would be read in two ways.
func (c *cursor) member(name string) (found bool, err error) {
	place := 0
	for c.at++; ; {
		if c.space(); c.document[c.at] == '}' {
			if found {
				c.at = place
			}
			return found, nil
		}
		if c.document[c.at] == ',' {
			c.at++
			c.space()
		}
		key := c.key()
		c.space()
		c.at++ // the colon
		if key == name {
			if found {
				return false, fmt.Errorf("the JSON has %q twice: %w", name, flow.ReasonBadRequest)
			}
			found, place = true, c.at
		}
		c.space()
		c.value()
	}
}

func (c *cursor) key() (key string) {
	from := c.at
	c.value()
	_ = json.Unmarshal(c.document[from:c.at], &key) // it is valid
	return key
}

// element goes to an element of the array at the cursor. whole says that it went
// to the closing bracket in vain.
func (c *cursor) element(token string) (found, whole bool) {
	want, err := strconv.Atoi(token)
	if err != nil || strconv.Itoa(want) != token {
		want = -1
	}
	c.at++
	for i := 0; ; i++ {
		if c.space(); c.document[c.at] == ']' {
			return false, true
		}
		if c.document[c.at] == ',' {
			c.at++
			c.space()
		}
		if i == want {
			return true, false
		}
		c.value()
	}
}

// comma is what stands before a new last element: nothing in an empty container.
func (c *cursor) comma(open byte) []byte {
	before := bytes.TrimRight(c.document[:c.at], " \t\r\n")
	if before[len(before)-1] == open {
		return nil
	}
	return []byte{','}
}

// value goes behind the value at the cursor.
func (c *cursor) value() {
	switch c.document[c.at] {
	case '"':
		for c.at++; c.document[c.at] != '"'; c.at++ {
			if c.document[c.at] == '\\' {
				c.at++
			}
		}
		c.at++
	case '{', '[':
		c.container()
	default:
		for c.at < len(c.document) && strings.IndexByte(" \t\r\n,]}", c.document[c.at]) < 0 {
			c.at++
		}
	}
}

func (c *cursor) container() {
	for depth := 0; ; {
		switch c.document[c.at] {
		case '"':
			c.value()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		if c.at++; depth == 0 {
			return
		}
	}
}
