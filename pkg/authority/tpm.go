package authority

import (
	"crypto"
	"crypto/ecdsa"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"sync"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
)

// unixPrefix before the path of a socket names a simulator.
const unixPrefix = "unix:"

// tpmKey is a key that a TPM 2.0 made and never gives away: what is at rest is
// encrypted under the TPM's own storage key. Between signatures neither the
// device nor any of the TPM's few places for keys is held: the loaded key waits
// as a saved context, which costs the TPM no public-key operation to take back.
type tpmKey struct {
	device  string
	pub     *ecdsa.PublicKey
	wrapped tpmBlobs

	mu      sync.Mutex // a TPM does one thing at a time
	context *tpm2.TPMSContext
}

// tpmBlobs are the two halves of a key at rest.
type tpmBlobs struct {
	public  tpm2.TPM2BPublic
	private tpm2.TPM2BPrivate
}

// keyAttributes: made in this TPM, bound to it and to its storage key for ever,
// signs anything, no password and hence nothing for the lockout to count.
var keyAttributes = tpm2.TPMAObject{
	FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true,
	UserWithAuth: true, NoDA: true, SignEncrypt: true,
}

// keyTemplate is what a new key shall be: P-256, ECDSA with SHA-256 and nothing else.
func keyTemplate() tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: keyAttributes,
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			CurveID: tpm2.TPMECCNistP256,
			Scheme: tpm2.TPMTECCScheme{
				Scheme:  tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
		}),
	}
}

func openTPM(device string) (transport.TPMCloser, error) {
	if path, ok := strings.CutPrefix(device, unixPrefix); ok {
		return linuxudstpm.Open(path)
	}
	return linuxtpm.Open(device)
}

// newTPMKey makes a key in a TPM.
func newTPMKey(device string) (*tpmKey, error) {
	t, err := openTPM(device)
	if err != nil {
		return nil, tpmProblem(device, err)
	}
	defer closeTPM(t)
	blobs, err := createIn(t)
	if err != nil {
		return nil, tpmProblem(device, err)
	}
	pub, err := blobs.publicKey()
	if err != nil {
		return nil, &StateError{device, "the TPM made another key than it was asked for", "use a TPM with P-256, or leave authority: {tpm: ...} out"}
	}
	return &tpmKey{device: device, pub: pub, wrapped: blobs}, nil
}

func createIn(t transport.TPM) (tpmBlobs, error) {
	parent, err := storageKey(t)
	if err != nil {
		return tpmBlobs{}, err
	}
	defer flush(t, parent.ObjectHandle)
	made, err := tpm2.Create{
		ParentHandle: tpm2.AuthHandle{Handle: parent.ObjectHandle, Name: parent.Name, Auth: tpm2.PasswordAuth(nil)},
		InPublic:     tpm2.New2B(keyTemplate()),
	}.Execute(t)
	if err != nil {
		return tpmBlobs{}, err
	}
	return tpmBlobs{made.OutPublic, made.OutPrivate}, nil
}

// storageKey makes the storage key of the owner's hierarchy: the same one each
// time, as long as nobody clears the TPM.
func storageKey(t transport.TPM) (*tpm2.CreatePrimaryResponse, error) {
	return tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.ECCSRKTemplate)}.Execute(t)
}

func flush(t transport.TPM, h tpm2.TPMHandle) {
	_, _ = tpm2.FlushContext{FlushHandle: h}.Execute(t) // the device's manager does it too when we close
}

func closeTPM(t io.Closer) { _ = t.Close() } // what was asked of it has been answered

// attach checks that the TPM of a device is the one that has the key.
func (k *tpmKey) attach(path, device string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.device = device
	t, err := openTPM(device)
	if err != nil {
		return tpmProblem(device, err)
	}
	defer closeTPM(t)
	h, err := k.load(t)
	if errors.Is(err, tpm2.TPMRCIntegrity) {
		return &StateError{path, "the key was made by another TPM than " + device + ", or this one was cleared since",
			"use the TPM that made it, or make a new key, which workloads do not know yet: outwarden ca rotate"}
	}
	if err != nil {
		return tpmProblem(device, err)
	}
	flush(t, h)
	return nil
}

// take loads the key, by its saved context if there is one. That is void once
// the TPM was reset. The caller holds k.mu and flushes the handle.
func (k *tpmKey) take(t transport.TPM) (tpm2.TPMHandle, error) {
	if k.context != nil {
		if r, err := (tpm2.ContextLoad{Context: *k.context}).Execute(t); err == nil {
			return r.LoadedHandle, nil
		}
		k.context = nil
	}
	return k.load(t)
}

// load unwraps the key under the storage key and saves it as a context.
func (k *tpmKey) load(t transport.TPM) (tpm2.TPMHandle, error) {
	parent, err := storageKey(t)
	if err != nil {
		return 0, err
	}
	defer flush(t, parent.ObjectHandle)
	r, err := tpm2.Load{
		ParentHandle: tpm2.AuthHandle{Handle: parent.ObjectHandle, Name: parent.Name, Auth: tpm2.PasswordAuth(nil)},
		InPrivate:    k.wrapped.private, InPublic: k.wrapped.public,
	}.Execute(t)
	if err != nil {
		return 0, err
	}
	if saved, err := (tpm2.ContextSave{SaveHandle: r.ObjectHandle}).Execute(t); err == nil {
		k.context = &saved.Context
	}
	return r.ObjectHandle, nil
}

func (k *tpmKey) public() *ecdsa.PublicKey { return k.pub }

// Public is for crypto.Signer.
func (k *tpmKey) Public() crypto.PublicKey { return k.pub }

var errBadSignature = errors.New("the signature is not one of the key")

// Sign lets the TPM sign a SHA-256 digest; the TPM draws the nonce. Callers
// wait for one another. What a device returns is verified.
func (k *tpmKey) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != crypto.SHA256 || len(digest) != crypto.SHA256.Size() {
		return nil, fmt.Errorf("the TPM's key signs SHA-256 digests, not %v", opts.HashFunc())
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	t, err := openTPM(k.device)
	if err != nil {
		return nil, tpmProblem(k.device, err)
	}
	defer closeTPM(t)
	h, err := k.take(t)
	if err != nil {
		return nil, tpmProblem(k.device, err)
	}
	defer flush(t, h)
	signature, err := signIn(t, h, k.wrapped.public, digest)
	if err == nil && !ecdsa.VerifyASN1(k.pub, digest, signature) {
		err = errBadSignature
	}
	if err != nil {
		return nil, tpmProblem(k.device, err)
	}
	return signature, nil
}

func signIn(t transport.TPM, h tpm2.TPMHandle, public tpm2.TPM2BPublic, digest []byte) ([]byte, error) {
	contents, err := public.Contents()
	if err != nil {
		return nil, err
	}
	name, err := tpm2.ObjectName(contents)
	if err != nil {
		return nil, err
	}
	r, err := tpm2.Sign{
		KeyHandle:  tpm2.AuthHandle{Handle: h, Name: *name, Auth: tpm2.PasswordAuth(nil)},
		Digest:     tpm2.TPM2BDigest{Buffer: digest},
		Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull},
	}.Execute(t)
	if err != nil {
		return nil, err
	}
	s, err := r.Signature.Signature.ECDSA()
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(struct{ R, S *big.Int }{
		new(big.Int).SetBytes(s.SignatureR.Buffer), new(big.Int).SetBytes(s.SignatureS.Buffer),
	})
}

// tpmProblem says what a TPM did not do, and what to look at.
func tpmProblem(device string, err error) error {
	advice := "is it there, and may we use it? ls -l /dev/tpm*; with the kernel's resource manager it is /dev/tpmrm0"
	if errors.Is(err, tpm2.TPMRCBadAuth) || errors.Is(err, tpm2.TPMRCAuthFail) {
		advice = "the owner's hierarchy of the TPM has a password; the authority needs it without one"
	}
	return &StateError{device, "the TPM cannot be used: " + err.Error(), advice}
}
