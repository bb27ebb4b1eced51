package inject

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/outwarden/outwarden/pkg/secret"
)

// ErrPlaceholder is returned for a format that has no room to be told from others.
var ErrPlaceholder = errors.New("not a format for placeholders")

// PlaceholderFormat is what a placeholder looks like: programs check the shape of
// their keys before they use them.
type PlaceholderFormat struct {
	Shape  string // "": opaque; "jwt" or "aws"
	Prefix string // of an opaque one, such as sk_live_; "": "owph_"
	Length int    // of an opaque one, with its prefix; 0: 32 letters behind it
}

// leastLetters are how many letters behind its prefix a placeholder has at least:
// 118 bits, so that nobody guesses one and none stands in a request by chance.
const leastLetters = 20

// Minter makes placeholders. They are the same for the same key, route and secret,
// so the daemon and the command line agree on them without telling each other.
type Minter struct{ key secret.Value }

// NewMinter returns a Minter over a key of 32 bytes or more.
func NewMinter(key secret.Value) (*Minter, error) {
	if key.Len() < sha256.Size {
		return nil, fmt.Errorf("key of %d bytes: %w", key.Len(), ErrPlaceholder)
	}
	return &Minter{key}, nil
}

// Mint returns what a workload of the route holds in the secret's stead. It tells
// nothing of the secret.
func (m *Minter) Mint(route, name string, f PlaceholderFormat) (string, error) {
	d := stretch{key: m.key, label: fmt.Sprintf("placeholder %q %q %q", route, name, f.Shape+" "+f.Prefix)}
	switch f.Shape {
	case "":
		prefix := cmp.Or(f.Prefix, "owph_")
		letters := f.Length - len(prefix)
		if f.Length == 0 {
			letters = 32
		}
		if letters < leastLetters || letters > 512 || strings.Trim(prefix, placeholderLetters+"_-.") != "" {
			return "", fmt.Errorf("prefix %q and length %d: %w", f.Prefix, f.Length, ErrPlaceholder)
		}
		return prefix + d.letters(placeholderLetters, letters), nil
	case "jwt":
		// Its signature is none: whoever verifies it refuses it.
		claims := fmt.Sprintf(`{"iss":"outwarden","sub":"placeholder","jti":%q}`, d.letters(placeholderLetters, leastLetters))
		encode := base64.RawURLEncoding.EncodeToString
		return encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode([]byte(claims)) + "." + encode(d.bytes(sha256.Size)), nil
	case "aws":
		return "AKIA" + d.letters("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16), nil
	}
	return "", fmt.Errorf("shape %q: %w", f.Shape, ErrPlaceholder)
}

const placeholderLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// stretch gives the bytes that a key and a label lead to.
type stretch struct {
	key   secret.Value
	label string
	block uint32
}

func (d *stretch) bytes(n int) (out []byte) {
	for len(out) < n {
		h := hmac.New(sha256.New, d.key.Reveal())
		_ = binary.Write(h, binary.BigEndian, d.block) // to a hash
		h.Write([]byte(d.label))
		d.block++
		out = h.Sum(out)
	}
	return out[:n]
}

// letters draws evenly: a byte beyond the last whole round of the alphabet is no
// letter.
func (d *stretch) letters(alphabet string, n int) string {
	out := make([]byte, 0, n)
	for len(out) < n {
		for _, b := range d.bytes(64) {
			if int(b) < 256/len(alphabet)*len(alphabet) && len(out) < n {
				out = append(out, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return string(out)
}
