package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/asn1"
	"encoding/pem"
	"errors"

	"github.com/google/go-tpm/tpm2"
)

// pemTPMKey is the PEM type of a tssKey.
const pemTPMKey = "TSS2 PRIVATE KEY"

var errBadTPMKey = errors.New("wrapped TPM key is damaged")

// oidLoadableKey is a key for TPM2_Load, from the TCG's registry.
var oidLoadableKey = asn1.ObjectIdentifier{2, 23, 133, 10, 1, 3}

// tssKey is the TPMKey structure of draft-woodhouse-cert-best-practice section
// 4.2, with the options that we use.
type tssKey struct {
	Type      asn1.ObjectIdentifier
	EmptyAuth bool `asn1:"explicit,tag:0"`
	Parent    int64
	Public    []byte // TPM2B_PUBLIC
	Private   []byte // TPM2B_PRIVATE
}

func (k *tpmKey) encode() (*pem.Block, error) {
	der, err := asn1.Marshal(tssKey{
		Type: oidLoadableKey, EmptyAuth: true, Parent: int64(tpm2.TPMRHOwner),
		Public: tpm2.Marshal(k.wrapped.public), Private: tpm2.Marshal(k.wrapped.private),
	})
	return &pem.Block{Type: pemTPMKey, Bytes: der}, err
}

// decodeTPMKey reads a wrapped key and takes only one that the template of ours
// could have made: above all one that cannot leave its TPM.
func decodeTPMKey(der []byte) (*tpmKey, error) {
	var k tssKey
	if rest, err := asn1.Unmarshal(der, &k); err != nil || len(rest) > 0 {
		return nil, errBadTPMKey
	}
	if !k.Type.Equal(oidLoadableKey) || !k.EmptyAuth || k.Parent != int64(tpm2.TPMRHOwner) {
		return nil, errBadTPMKey
	}
	public, err := tpm2.Unmarshal[tpm2.TPM2BPublic](k.Public)
	if err != nil {
		return nil, errBadTPMKey
	}
	private, err := tpm2.Unmarshal[tpm2.TPM2BPrivate](k.Private)
	if err != nil {
		return nil, errBadTPMKey
	}
	blobs := tpmBlobs{*public, *private}
	pub, err := blobs.publicKey()
	if err != nil {
		return nil, err
	}
	return &tpmKey{pub: pub, wrapped: blobs}, nil
}

// publicKey is the public half, if it is of our template.
func (b tpmBlobs) publicKey() (*ecdsa.PublicKey, error) {
	public, err := b.public.Contents()
	if err != nil {
		return nil, errBadTPMKey
	}
	if public.Type != tpm2.TPMAlgECC || public.ObjectAttributes != keyAttributes {
		return nil, errKeyKind
	}
	parsed, err := tpm2.Pub(*public)
	if err != nil {
		return nil, errBadTPMKey
	}
	pub, ok := parsed.(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		return nil, errKeyKind
	}
	if _, err := pub.ECDH(); err != nil { // not a point of the curve
		return nil, errBadTPMKey
	}
	return pub, nil
}
