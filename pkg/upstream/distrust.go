package upstream

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
)

// publicKeys are the authorities that came to many machines with one private
// key for all of them, which is public since: whoever likes signs with it. They
// are in trust stores because software put them there, so that no store can
// overrule this list. The key is the SHA-256 of the SubjectPublicKeyInfo, as the
// same key may come back in another certificate.
var publicKeys = map[string]string{
	"4bb8f35ba1e126f8dde1b0c420625ed86dce61a7bddadbdea9aba578ff13145e": "Superfish",
	"cdee9f3305572a677e1a6c82dc1e02a35b11cae6a684338c9f37fe1ac8daec23": "eDellRoot",
	"130ad4e0633521290531b6651f5759b0bc7bc656709ff8f365c2143b0389b6f6": "DSDTestProvider",
	"680971cb44b0fd56592102a256e85c58e87109ad8044c2b90d8f3c6e9eeab897": "preact-cli",
	"2bd1e667ec9ebbe02b9a7da264210c99b3eac1cc9141a0e30e3f623eaccec4e1": "webpack-dev-server",
	"8f591f7aa4dc3efe9490c38a4692c9011ed128f1de595569406d77b6fa1f6b4c": "Sennheiser HeadSetup, 127.0.0.1",
	"0c43ea8bcde9fc3bca165664ac8215567e3489d5393a0c81e1a79141992e1953": "Sennheiser HeadSetup, SenncomRootCA",
	"1af56c98ff043ef92bebff54cebb4dd67a25ba956c817f3e6dd3c1e52eb584c1": "Cyberoam",
	"490b6ec6beb2d6034720b5149b6b29cd35515988cc16af854148b07b9b1f8a11": "Mitel",
	"6adb8e3e055460922d1501cb97f94c6a02e39c8f2774ca408825b7b58379dc14": "Mitel",
	"707d364e72ae521431dd953897f9c4846d5b8c324298fe53fbd4ada1f2d1157f": "Mitel",
	"ef551284715232de92e246c323329362b132493bb16b589e4775520beb871a56": "Mitel",
}

// distrustError is a chain with a key of that kind.
type distrustError struct{ name string }

func (e *distrustError) Error() string {
	return "certificate chain: the private key of " + e.name + " is public"
}

// distrusted returns an error for the first certificate with such a key.
func (p *Pool) distrusted(chain []*x509.Certificate) error {
	var digits [2 * sha256.Size]byte
	for _, cert := range chain {
		sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
		hex.Encode(digits[:], sum[:])
		if name, ok := p.publicKeys[string(digits[:])]; ok {
			return &distrustError{name}
		}
	}
	return nil
}
