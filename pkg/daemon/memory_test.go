package daemon_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// secretsOf are the credentials of a world in every spelling that a leak could
// have: as they are, in base64 and in hex.
func secretsOf(t testing.TB, w *world) map[string][]byte {
	t.Helper()
	raw := map[string][]byte{
		"token":    []byte(strings.TrimSpace(w.read("partner/bearer.token"))),
		"HMAC key": []byte(strings.TrimSpace(w.read("partner/hmac.key"))),
	}
	block, _ := pem.Decode([]byte(w.read("partner/client-key.pem")))
	if block == nil {
		t.Fatal("no client key")
	}
	raw["client key in DER"] = block.Bytes
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		key, err = x509.ParseECPrivateKey(block.Bytes)
	}
	must(t, err)
	scalar, err := key.(*ecdsa.PrivateKey).Bytes()
	must(t, err)
	raw["client key"] = scalar
	raw["client key in PEM"] = []byte(strings.Split(w.read("partner/client-key.pem"), "\n")[1])
	if key, err := hex.DecodeString(string(raw["HMAC key"])); err == nil {
		raw["HMAC key, decoded"] = key
	}
	needles := map[string][]byte{}
	for name, b := range raw {
		if len(b) < 16 {
			t.Fatalf("%s has %d bytes, too few to be told from chance", name, len(b))
		}
		needles[name] = b
		needles[name+" in base64"] = []byte(base64.RawStdEncoding.EncodeToString(b))
		needles[name+" in hex"] = []byte(hex.EncodeToString(b))
	}
	return needles
}

// workloadPID is the one process in the one run's cgroup.
func (w *world) workloadPID() int {
	w.t.Helper()
	runs, err := filepath.Glob(filepath.Join(w.cgroup, "outwarden-run-*", "cgroup.procs"))
	must(w.t, err)
	if len(runs) != 1 {
		w.t.Fatalf("%d runs, want one", len(runs))
	}
	b, err := os.ReadFile(runs[0])
	must(w.t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	must(w.t, err)
	return pid
}

// memory is all that a process holds.
type memory [][]byte

func (m memory) holds(needle []byte) bool {
	for _, part := range m {
		if bytes.Contains(part, needle) {
			return true
		}
	}
	return false
}

// memoryOf reads environment, arguments and every readable mapping of a process.
func memoryOf(t testing.TB, pid int) memory {
	t.Helper()
	var all memory
	for _, name := range []string{"environ", "cmdline"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		must(t, err)
		all = append(all, b)
	}
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	must(t, err)
	defer maps.Close()
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	must(t, err)
	defer mem.Close()
	mappings := 0
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var from, to int64
		var perms string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &perms); err != nil || perms[0] != 'r' {
			continue // not readable, or above what int64 holds: vsyscall
		}
		if b, ok := readMapping(mem, from, to); ok {
			all = append(all, b)
			mappings++
		}
	}
	if mappings < 10 {
		t.Fatalf("only %d mappings of process %d could be read", mappings, pid)
	}
	return all
}

// readMapping reads a mapping as far as it has pages; [vvar] has none.
func readMapping(mem io.ReaderAt, from, to int64) ([]byte, bool) {
	b := make([]byte, to-from)
	n, _ := mem.ReadAt(b, from)
	return b[:n], n > 0
}
