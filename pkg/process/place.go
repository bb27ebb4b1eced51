package process

import "strings"

// Place is what a cgroup path tells about whom it belongs to.
type Place struct {
	Unit      string // unit of the system manager
	UserUnit  string // unit of a user's manager, if the path lies in one
	Container string // id, 64 hex digits
	Pod       string // Kubernetes pod uid
}

// PlaceOf reads a cgroup path. Names count only where the host gave them: the
// unit is the outermost one, the container is the outermost one (or the one
// right below its pod) and not inside a unit other than a container runtime's,
// and below user@UID.service, which its user may fill at will, only UserUnit is
// told. Otherwise a workload that owns a subtree of cgroups could name itself.
//
// The rules for units are those of systemd (cg_path_get_unit in its cgroup
// code): slices are skipped, the first other component is the unit, and one
// leading underscore is an escape.
func PlaceOf(path string) Place {
	var p Place
	parts := strings.Split(strings.Trim(path, "/"), "/")
	unit, rest := firstUnit(parts)
	p.Unit = unit
	if isUserManager(unit) {
		p.UserUnit, _ = firstUnit(rest)
		return p
	}
	p.Pod, p.Container = containerOf(parts)
	return p
}

// firstUnit skips slices and returns the first unit and what lies below it.
func firstUnit(parts []string) (string, []string) {
	for i, part := range parts {
		name := strings.TrimPrefix(part, "_")
		switch {
		case isUnit(name, ".slice"):
			continue
		case isLeafUnit(name):
			return name, parts[i+1:]
		default:
			return "", nil
		}
	}
	return "", nil
}

// isLeafUnit knows the unit types that hold processes.
func isLeafUnit(name string) bool {
	return isUnit(name, ".service") || isUnit(name, ".scope") || isUnit(name, ".socket") ||
		isUnit(name, ".mount") || isUnit(name, ".swap")
}

// isUnit reports whether name is a unit of that type in systemd's alphabet
// (systemd.unit(5)); instances ("a@b.service") and escapes ("a\x2db") included.
func isUnit(name, suffix string) bool {
	stem, ok := strings.CutSuffix(name, suffix)
	if !ok || stem == "" || stem[0] == '@' || len(name) > 255 {
		return false
	}
	for i := range len(stem) {
		if c := stem[i]; !isAlnum(c) && strings.IndexByte(`:-_.\@`, c) < 0 {
			return false
		}
	}
	return true
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// isUserManager reports whether unit is user@UID.service.
func isUserManager(unit string) bool {
	uid, ok := strings.CutPrefix(unit, "user@")
	if !ok {
		return false
	}
	uid, ok = strings.CutSuffix(uid, ".service")
	return ok && uid != ""
}

// containerOf walks from the outside in. A pod counts only below "kubepods"
// and before any container.
func containerOf(parts []string) (pod, container string) {
	inKubepods := false
	for _, part := range parts {
		if id := containerID(part); id != "" {
			if slice, _, ok := strings.Cut(part, ":"); ok && strings.HasPrefix(slice, "kubepods") {
				pod = podUID(slice)
			}
			return pod, id
		}
		if pod != "" || isLeafUnit(part) && !isRuntimeUnit(part) {
			return pod, "" // the kubelet puts containers right below the pod
		}
		inKubepods = inKubepods || isKubepods(part)
		if inKubepods {
			pod = podUID(part)
		}
	}
	return pod, ""
}

// isKubepods knows "kubepods" (cgroupfs driver), "kubepods.slice" and
// "NAME-kubepods.slice" (systemd driver, with or without a parent slice).
func isKubepods(part string) bool {
	name := strings.TrimSuffix(part, ".slice")
	return name == "kubepods" || name != part && strings.HasSuffix(name, "-kubepods")
}

// podUID knows "podUID" and "kubepods-QOS-podUID.slice"; in the second the
// dashes of the uid are underscores. Static pods have 32 hex digits instead.
func podUID(part string) string {
	name, slice := strings.CutSuffix(part, ".slice")
	if slice {
		if i := strings.LastIndex(name, "-pod"); i >= 0 {
			name = strings.ReplaceAll(name[i+1:], "_", "-")
		}
	}
	uid, ok := strings.CutPrefix(name, "pod")
	if !ok || !isUUID(uid) && !isHex(uid, 32) {
		return ""
	}
	return uid
}

// containerID knows NAME-<id>.scope of the runtimes, cri-containerd's
// "<slice>:cri-containerd:<id>", "libpod-<id>" and the bare id.
func containerID(part string) string {
	name := strings.TrimSuffix(part, ".scope")
	id := name
	if i := strings.LastIndexAny(name, "-:"); i >= 0 {
		id = name[i+1:]
		runtime := name[:i]
		if j := strings.LastIndexByte(runtime, ':'); j >= 0 {
			runtime = runtime[j+1:]
		}
		if !isRuntime(runtime) {
			return ""
		}
	}
	if !isHex(id, 64) {
		return ""
	}
	return id
}

// isRuntime lists the prefixes by name: "libpod-conmon" and "crio-conmon" are
// the monitors beside a container, not the container.
func isRuntime(s string) bool {
	switch s {
	case "docker", "cri-containerd", "containerd", "crio", "libpod", "nerdctl", "cri-o":
		return true
	}
	return false
}

// isRuntimeUnit knows the services that put their containers below themselves
// when their cgroup driver is cgroupfs.
func isRuntimeUnit(unit string) bool {
	switch unit {
	case "docker.service", "containerd.service", "crio.service", "kubelet.service",
		"k3s.service", "k3s-agent.service", "rke2-server.service", "rke2-agent.service":
		return true
	}
	return false
}

func isHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := range n {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// isUUID knows 8-4-4-4-12 in lower-case hex.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for _, i := range []int{8, 13, 18, 23} {
		if s[i] != '-' {
			return false
		}
	}
	return isHex(s[:8]+s[9:13]+s[14:18]+s[19:23]+s[24:], 32)
}
