package process

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPlaceOf(t *testing.T) {
	var (
		id    = strings.Repeat("0123456789abcdef", 4)
		other = strings.Repeat("fedcba9876543210", 4)
	)
	const (
		uid  = "6f9b1c2d-3e4f-4a5b-8c6d-7e8f9a0b1c2d"
		low  = "6f9b1c2d_3e4f_4a5b_8c6d_7e8f9a0b1c2d"
		hash = "0123456789abcdef0123456789abcdef"
	)
	for path, want := range map[string]Place{
		"/":                         {},
		"":                          {},
		"/system.slice":             {},
		"/system.slice/ssh.service": {Unit: "ssh.service"},
		"/system.slice/system-getty.slice/getty@tty1.service":             {Unit: "getty@tty1.service"},
		`/system.slice/dev-disk-by\x2duuid-1.swap`:                        {Unit: `dev-disk-by\x2duuid-1.swap`},
		"/system.slice/_cpu.service":                                      {Unit: "cpu.service"},
		"/init.scope":                                                     {Unit: "init.scope"},
		"/user.slice/user-1000.slice/session-3.scope":                     {Unit: "session-3.scope"},
		"/a.slice/a-b.slice/a-b-c.slice/x.service/sub/y.service":          {Unit: "x.service"},
		"/user.slice/user-1000.slice/user@1000.service/init.scope":        {Unit: "user@1000.service", UserUnit: "init.scope"},
		"/user.slice/user-1000.slice/user@1000.service/app.slice/b.scope": {Unit: "user@1000.service", UserUnit: "b.scope"},
		// a user who names a unit of his own like the system's does not become it
		"/user.slice/user-1000.slice/user@1000.service/app.slice/billing.service": {Unit: "user@1000.service", UserUnit: "billing.service"},
		"/plain/cgroup":      {},
		"/plain/ssh.service": {}, // not below slices only: nobody of systemd's made this
		"/.service":          {},
		"/@x.service":        {},
		"/a b.service":       {},

		"/docker/" + id:                                   {Container: id},
		"/system.slice/docker-" + id + ".scope":           {Unit: "docker-" + id + ".scope", Container: id},
		"/machine.slice/libpod-" + id + ".scope":          {Unit: "libpod-" + id + ".scope", Container: id},
		"/libpod_parent/libpod-" + id:                     {Container: id},
		"/machine.slice/libpod-" + id + ".scope/x":        {Unit: "libpod-" + id + ".scope", Container: id}, // crun
		"/machine.slice/libpod-conmon-" + id + ".scope":   {Unit: "libpod-conmon-" + id + ".scope"},
		"/system.slice/nerdctl-" + id + ".scope":          {Unit: "nerdctl-" + id + ".scope", Container: id},
		"/ecs/task/" + id:                                 {Container: id},
		"/docker/" + strings.ToUpper(id):                  {},
		"/docker/" + id[1:]:                               {},
		"/docker/" + id + "/docker/" + other:              {Container: id}, // docker in docker: the one the host made
		"/system.slice/foo.service/docker-" + id:          {Unit: "foo.service"},
		"/user.slice/user@5.service/docker-" + id:         {Unit: "user@5.service"},
		"/system.slice/docker.service/docker/" + id:       {Unit: "docker.service", Container: id},
		"/user.slice/user@5.service/x.slice/libpod-" + id: {Unit: "user@5.service"},

		"/kubepods/burstable/pod" + uid + "/" + id:               {Pod: uid, Container: id},
		"/kubepods/pod" + uid + "/" + id:                         {Pod: uid, Container: id},
		"/kubepods/besteffort/pod" + hash + "/" + id + "/nested": {Pod: hash, Container: id},
		"/kubepods/burstable/pod" + uid:                          {Pod: uid},
		"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + low + ".slice/cri-containerd-" + id + ".scope": {Unit: "cri-containerd-" + id + ".scope", Pod: uid, Container: id},
		"/kubepods.slice/kubepods-pod" + low + ".slice/crio-" + id + ".scope/container":                                    {Unit: "crio-" + id + ".scope", Pod: uid, Container: id},
		"/kubepods.slice/kubepods-pod" + low + ".slice/crio-conmon-" + id + ".scope":                                       {Unit: "crio-conmon-" + id + ".scope", Pod: uid},
		"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + low + ".slice/cri-containerd-" + id + ".scope":      {Unit: "cri-containerd-" + id + ".scope", Pod: uid, Container: id},
		"/system.slice/containerd.service/kubepods-besteffort-pod" + low + ".slice:cri-containerd:" + id:                   {Unit: "containerd.service", Pod: uid, Container: id},
		"/docker/" + id + "/kubepods/pod" + uid + "/" + other:                                                              {Container: id}, // a container that plays kubelet
		"/pod" + uid + "/" + id: {Container: id}, // not the kubelet's tree
	} {
		if diff := cmp.Diff(want, PlaceOf(path)); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
}
