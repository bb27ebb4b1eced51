package authority

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
)

// simulator runs swtpm over the state in dir, until stop or the test's end, and
// returns the TPM's name for Options.
func simulator(t testing.TB, dir string) (device string, stop func()) {
	t.Helper()
	if _, err := exec.LookPath("swtpm"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("swtpm is not installed")
		}
		t.Skip("swtpm is not installed")
	}
	short, err := os.MkdirTemp("", "tpm") // a socket's path has room for 107 bytes
	must(t, err)
	socket := filepath.Join(short, "s")
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+dir,
		"--server", "type=unixio,path="+socket, "--flags", "startup-clear,not-need-init")
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	must(t, cmd.Start())
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(short)
	})
	t.Cleanup(stop)
	for range 200 {
		// The socket is there a moment before anybody listens on it.
		if c, err := net.Dial("unix", socket); err == nil {
			must(t, c.Close())
			return unixPrefix + socket, stop
		}
		time.Sleep(25 * time.Millisecond)
	}
	stop()
	t.Fatalf("nobody listens on the socket of swtpm: %s", log.String())
	return "", nil
}

// occupied is how many keys a TPM without a manager has loaded.
func occupied(t testing.TB, device string) int {
	t.Helper()
	tpm, err := openTPM(device)
	must(t, err)
	defer closeTPM(tpm)
	r, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: uint32(tpm2.TPMHTTransient) << 24, PropertyCount: 16}.Execute(tpm)
	must(t, err)
	handles, err := r.CapabilityData.Data.Handles()
	must(t, err)
	return len(handles.Handle)
}

func TestKeyInTPM(t *testing.T) {
	device, _ := simulator(t, t.TempDir())
	dir := freshDir(t)
	o := Options{TPM: device, Permitted: []string{"*.example.com"}}
	a := open(t, dir, o)
	cert, err := a.Certificate("api.example.com")
	must(t, err)
	must(t, verify(cert.Leaf, a.Root(), "api.example.com"))
	if hasOpenSSL(t) {
		must(t, opensslVerify(t, cert.Leaf, a.Root()))
	}
	if leafKey, inTPM := cert.PrivateKey.(*tpmKey); inTPM {
		t.Errorf("the leaf's key is in the TPM too: %v", leafKey)
	}
	for name, b := range contents(t, dir) {
		if mode(t, filepath.Join(dir, name)) != 0o600 {
			t.Errorf("%s: mode %v", name, mode(t, filepath.Join(dir, name)))
		}
		if strings.Contains(b, "BEGIN "+pemKey) || strings.Contains(b, "BEGIN EC") {
			t.Errorf("%s holds a key in the clear", name)
		}
	}
	again := open(t, dir, o)
	if again.Generation() != a.Generation() || !again.Root().Equal(a.Root()) {
		t.Error("another root after a restart")
	}
	o.Permitted = append(o.Permitted, "new.example")
	wider := open(t, dir, o) // the root is issued again, by the key in the TPM
	if wider.Generation() != a.Generation() || wider.Root().Equal(a.Root()) {
		t.Error("want another certificate of the same key")
	}
	must(t, wider.Rotate())
	if wider.Generation() == a.Generation() || !wider.Issued([]*x509.Certificate{cert.Leaf}) {
		t.Error("rotation must make another key and remember the root before")
	}
	cert, err = wider.Certificate("new.example")
	must(t, err)
	must(t, verify(cert.Leaf, wider.Root(), "new.example"))
	if n := occupied(t, device); n != 0 {
		t.Errorf("%d keys are left loaded in the TPM", n)
	}
}

// The TPM itself says that the key was made in it and cannot leave it.
func TestKeyCannotLeaveTheTPM(t *testing.T) {
	device, _ := simulator(t, t.TempDir())
	key, err := newTPMKey(device)
	must(t, err)
	tpm, err := openTPM(device)
	must(t, err)
	defer closeTPM(tpm)
	h, err := key.load(tpm)
	must(t, err)
	defer flush(tpm, h)
	r, err := tpm2.ReadPublic{ObjectHandle: h}.Execute(tpm)
	must(t, err)
	public, err := r.OutPublic.Contents()
	must(t, err)
	if a := public.ObjectAttributes; !a.FixedTPM || !a.FixedParent || !a.SensitiveDataOrigin || a.Decrypt || a.Restricted {
		t.Errorf("attributes %+v", a)
	}
	_, err = tpm2.Duplicate{
		ObjectHandle:    tpm2.AuthHandle{Handle: h, Name: r.Name, Auth: tpm2.PasswordAuth(nil)},
		NewParentHandle: tpm2.TPMRHNull,
		Symmetric:       tpm2.TPMTSymDef{Algorithm: tpm2.TPMAlgNull},
	}.Execute(tpm)
	if err == nil {
		t.Error("the TPM gave the key away")
	}
}

func TestAnotherTPMIsToldFromTheOneThatHasTheKey(t *testing.T) {
	state := t.TempDir()
	device, stop := simulator(t, state)
	dir := freshDir(t)
	a := open(t, dir, Options{TPM: device})
	before := contents(t, dir)
	stop()
	_, err := a.Certificate("a.example")
	wantStateError(t, err, device, "cannot be used")
	_, err = Open(dir, Options{TPM: device})
	wantStateError(t, err, device, "cannot be used")

	other, _ := simulator(t, t.TempDir())
	_, err = Open(dir, Options{TPM: other})
	wantStateError(t, err, filepath.Join(dir, keyFile), "another TPM")
	if !strings.Contains(fmt.Sprint(before), contents(t, dir)[keyFile]) {
		t.Error("the key file was changed")
	}

	same, _ := simulator(t, state) // after a reboot
	if got := open(t, dir, Options{TPM: same}); got.Generation() != a.Generation() {
		t.Error("another key after a reboot of the same TPM")
	}
}

// A saved context is void after a reset of the TPM; the authority does not care.
func TestTPMThatWasResetGoesOn(t *testing.T) {
	state := t.TempDir()
	device, stop := simulator(t, state)
	a := open(t, freshDir(t), Options{TPM: device})
	_, err := a.Certificate("before.example")
	must(t, err)
	stop()
	same, _ := simulator(t, state)
	a.now.Load().key.(*tpmKey).device = same
	_, err = a.Certificate("after.example")
	must(t, err)
}

func TestKeysAreNotMovedBetweenFileAndTPM(t *testing.T) {
	device, _ := simulator(t, t.TempDir())
	for name, c := range map[string]struct{ from, to Options }{
		"file to TPM": {Options{}, Options{TPM: device}},
		"TPM to file": {Options{TPM: device}, Options{}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := freshDir(t)
			old := open(t, dir, c.from)
			leaf, err := old.Certificate("a.example")
			must(t, err)
			_, err = Open(dir, c.to)
			wantStateError(t, err, filepath.Join(dir, keyFile), "the key is in")
			var state *StateError
			if errors.As(err, &state) && !strings.Contains(state.Hint(), "outwarden ca rotate") {
				t.Errorf("hint %q", state.Hint())
			}
			a, err := Rotate(dir, c.to)
			must(t, err)
			if a.Generation() == old.Generation() || !a.Issued([]*x509.Certificate{leaf.Leaf}) {
				t.Error("want another key, and the earlier root remembered")
			}
			if got := open(t, dir, c.to); got.Generation() != a.Generation() {
				t.Error("the new key did not reach the disk")
			}
		})
	}
}

func TestManySignAtOnce(t *testing.T) {
	device, _ := simulator(t, t.TempDir())
	a := open(t, freshDir(t), Options{TPM: device})
	b := open(t, freshDir(t), Options{TPM: device}) // without a resource manager between them
	var all sync.WaitGroup
	for n := range 16 {
		all.Go(func() {
			for _, x := range []*Authority{a, b} {
				name := fmt.Sprintf("host%d.example", n)
				if cert, err := x.Certificate(name); err != nil {
					t.Error(err)
				} else if err := verify(cert.Leaf, x.Root(), name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := occupied(t, device); n != 0 {
		t.Errorf("%d keys are left loaded in the TPM", n)
	}
}

func TestTPMSignsOnlySHA256(t *testing.T) {
	k := &tpmKey{}
	for _, h := range []crypto.Hash{0, crypto.SHA1, crypto.SHA512} {
		if _, err := k.Sign(nil, make([]byte, 32), h); err == nil {
			t.Errorf("signed %v", h)
		}
	}
	if _, err := k.Sign(nil, make([]byte, 31), crypto.SHA256); err == nil {
		t.Error("signed half a digest")
	}
}

func TestWrongDevices(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for _, device := range []string{file, unixPrefix + file, "/nowhere/tpm", "unix:/nowhere/tpm", unixPrefix} {
		dir := freshDir(t)
		_, err := Open(dir, Options{TPM: device})
		wantStateError(t, err, device, "cannot be used")
		if len(contents(t, dir)) != 0 {
			t.Errorf("%s: files were left", device)
		}
	}
}

// A wrapped key is taken only if our template could have made it.
func TestWrappedKeysThatCouldLeaveAreRefused(t *testing.T) {
	device, _ := simulator(t, t.TempDir())
	key, err := newTPMKey(device)
	must(t, err)
	for name, change := range map[string]func(*tpm2.TPMTPublic){
		"none":         func(*tpm2.TPMTPublic) {},
		"another TPM":  func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedTPM = false },
		"imported":     func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SensitiveDataOrigin = false },
		"decrypts too": func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Decrypt = true },
		"no point": func(p *tpm2.TPMTPublic) {
			p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: []byte{1}}})
		},
	} {
		public, err := key.wrapped.public.Contents()
		must(t, err)
		changed := *public
		change(&changed)
		block, err := (&tpmKey{wrapped: tpmBlobs{tpm2.New2B(changed), key.wrapped.private}}).encode()
		must(t, err)
		if _, err := decodeKey(block); (err == nil) != (name == "none") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecodeTPMKey(f *testing.F) {
	f.Add([]byte{0x30, 0})
	f.Fuzz(func(t *testing.T, der []byte) {
		k, err := decodeTPMKey(der)
		if err != nil {
			return
		}
		block, err := k.encode()
		must(t, err)
		again, err := decodeTPMKey(block.Bytes)
		if err != nil || !again.pub.Equal(k.pub) {
			t.Errorf("%s decodes to another key: %v", pem.EncodeToMemory(block), err)
		}
	})
}

func BenchmarkSignTPM(b *testing.B) {
	device, _ := simulator(b, b.TempDir())
	key, err := newTPMKey(device)
	must(b, err)
	digest := sha256.Sum256(nil)
	for b.Loop() {
		_, err := key.Sign(nil, digest[:], crypto.SHA256)
		must(b, err)
	}
}

func BenchmarkOpenTPM(b *testing.B) {
	device, _ := simulator(b, b.TempDir())
	dir := freshDir(b)
	open(b, dir, Options{TPM: device})
	for b.Loop() {
		open(b, dir, Options{TPM: device})
	}
}
