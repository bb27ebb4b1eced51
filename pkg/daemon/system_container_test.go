package daemon_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/outwarden/outwarden/pkg/audit"
)

// containers is a container runtime of a test's own: containerd with runc.
type containers struct {
	w      *world
	socket string
	root   string // file system of every container
}

// runtime starts containerd on the host.
func (w *world) runtime() *containers {
	w.t.Helper()
	if _, err := exec.LookPath("containerd"); err != nil {
		w.t.Fatal("no containerd; scripts/setup test installs it: ", err)
	}
	c := &containers{w: w, socket: w.path("containerd/sock"), root: w.path("rootfs")}
	w.write("containerd/config.toml", fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = %q
[ttrpc]
  address = %q
`, w.path("containerd/root"), w.path("containerd/state"), c.socket, w.path("containerd/ttrpc")))
	w.t.Cleanup(w.removeV1)
	w.begin(w.cgroup, "containerd", "--config", w.path("containerd/config.toml"))
	w.await("containerd answers", func() bool {
		return w.do(w.cgroup, "ctr", "--address", c.socket, "version").code == 0
	})
	w.write("rootfs/etc/hosts", "198.51.100.80 "+partnerName+"\n")
	must(w.t, os.MkdirAll(w.path("rootfs/bin"), 0o755))
	w.succeed(w.cgroup, "cp", program("client"), w.path("rootfs/bin/client"))
	return c
}

// removeV1 removes what runc made of our cgroups in the old hierarchies.
func (w *world) removeV1() {
	for _, group := range []string{"work", ""} {
		dirs, err := filepath.Glob(filepath.Join("/sys/fs/cgroup/*", filepath.Base(w.cgroup), group))
		must(w.t, err)
		for _, dir := range dirs {
			if filepath.Dir(dir) != filepath.Dir(w.cgroup) && dir != w.work {
				must(w.t, os.Remove(dir))
			}
		}
	}
}

// run runs the client in a container below a cgroup, to its end. It trusts our
// bundle, which is bound into the container.
func (c *containers) run(cgroup, name string, options []string, args ...string) (id string, r result) {
	c.w.t.Helper()
	sum := sha256.Sum256([]byte(c.w.cgroup + name))
	id = hex.EncodeToString(sum[:])
	argv := []string{
		"ctr", "--address", c.socket, "run", "--rm", "--rootfs", "--runc-root", c.w.path("containerd/runc"),
		"--cgroup", filepath.Join(c.w.cgroupPath(cgroup), id), "--fifo-dir", c.w.path("containerd"),
		"--env", "SSL_CERT_FILE=/bundle.pem",
		"--mount", "type=bind,src=" + c.w.path("run/trust/bundle.pem") + ",dst=/bundle.pem,options=bind:ro",
	}
	argv = append(append(argv, options...), c.root, id, "/bin/client")
	return id, c.w.do(c.w.cgroup, append(argv, args...)...)
}

// Containers of a real runtime call the partner through us: one with a wire past
// the host, and one that shares the network of the host with another that is not
// in scope. One that has no network but its loopback has none by us either. The
// record names the container.
func TestSystemContainers(t *testing.T) {
	w := newWorld(t)
	slipped := w.watch()
	c := w.runtime()
	w.daemon()
	wired := w.place()
	for name, options := range map[string][]string{
		"wired": {"--with-ns", "network:" + wired.Path()},
		"host":  {"--net-host"},
	} {
		t.Run(name, func(t *testing.T) {
			id, r := c.run(w.work, name, options, "insist", partnerURL)
			if r.code != 0 {
				t.Fatal(r)
			}
			accountIn(t, r.stdout).verified(t)
			intent := w.find("the credential", func(r *audit.Record) bool {
				return r.Kind == audit.KindCredential && r.Process != nil && r.Process.Container == id
			})
			if intent.Route != "partner-transfers" {
				t.Errorf("intent: %+v", intent)
			}
		})
	}
	id, r := c.run(w.work, "none", nil, "insist", partnerURL)
	if r.code == 0 {
		t.Error("a container without a network reached the partner")
	}
	w.find("the refusal", func(r *audit.Record) bool {
		return r.Reason == "network_unreachable" && r.Process != nil && r.Process.Container == id
	})
	if n := slipped(); n != 0 {
		t.Errorf("%d packets went past us", n)
	}
	w.awaitOthers(0)

	before := w.status().Flows.Accepted
	outside := w.path("outside")
	if _, r := c.run(w.cgroup, outside, []string{"--net-host"}, "connect", partnerAddr); r.code != 0 {
		t.Errorf("a container that is not in scope: %v", r)
	}
	if now := w.status().Flows.Accepted; now != before {
		t.Error("a container that is not in scope was captured, in the network of the host")
	}
}
