package process

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

const statTail = " 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 1 1 1 1"

func TestParseStat(t *testing.T) {
	for name, c := range map[string]struct {
		line string
		want stat
		bad  bool
	}{
		"plain":             {line: "7 (cat) S 3" + statTail, want: stat{'S', 3, 12345}},
		"name with )":       {line: "7 (a) Z 9 (b) R 3" + statTail, want: stat{'R', 3, 12345}},
		"name with newline": {line: "7 (a\n) S 3" + statTail, want: stat{'S', 3, 12345}},
		"zombie":            {line: "7 (cat) Z 1" + statTail, want: stat{'Z', 1, 12345}},
		"short":             {line: "7 (cat) S 3 1", bad: true},
		"no name":           {line: "7 cat S 3" + statTail, bad: true},
		"negative parent":   {line: "7 (cat) S -3" + statTail, bad: true},
		"long state":        {line: "7 (cat) SS 3" + statTail, bad: true},
		"start overflows":   {line: "7 (cat) S 3" + strings.Replace(statTail, "12345", "18446744073709551616", 1), bad: true},
		"empty":             {bad: true},
	} {
		got, err := parseStat([]byte(c.line))
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("%s: got %+v, %v; want %+v, error %v", name, got, err, c.want, c.bad)
		}
	}
}

func TestStartIsComparedAtTickGrain(t *testing.T) {
	s := stat{start: 12345}
	const began = 123450 * time.Millisecond
	for d, want := range map[time.Duration]bool{
		began: true, began + tick - 1: true, began + tick: false, began - 1: false, -1: false, 0: false,
	} {
		if got := s.startedAt(d); got != want {
			t.Errorf("startedAt(%v) = %v, want %v", d, got, want)
		}
	}
}

func TestParseCmdline(t *testing.T) {
	long := strings.Repeat("é", MaxArgBytes)
	for name, c := range map[string]struct {
		in   string
		want []string
	}{
		"two":             {"curl\x00https://a\x00", []string{"curl", "https://a"}},
		"empty argument":  {"a\x00\x00b\x00", []string{"a", "", "b"}},
		"no last NUL":     {"a b c", []string{"a b c"}},
		"nothing":         {"", nil},
		"lone NUL":        {"\x00", nil},
		"not UTF-8":       {"a\xffb\x00", []string{"a\uFFFDb"}},
		"cut at a letter": {"x" + long, []string{"x" + long[:MaxArgBytes-2] + "\uFFFD"[:0]}},
	} {
		got := parseCmdline([]byte(c.in))
		if name == "cut at a letter" { // half a letter becomes U+FFFD, which is longer and then does not fit
			if len(got) != 1 || len(got[0]) > MaxArgBytes || !strings.HasPrefix(got[0], "xéé") {
				t.Errorf("%s: got %d arguments of %d bytes", name, len(got), len(got[0]))
			}
			continue
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if got := parseCmdline([]byte(strings.Repeat("a\x00", MaxArgs+9))); len(got) != MaxArgs {
		t.Errorf("%d arguments kept, want %d", len(got), MaxArgs)
	}
}

func TestParseCgroup(t *testing.T) {
	for in, want := range map[string]string{
		"0::/system.slice/ssh.service\n":            "/system.slice/ssh.service",
		"9:name=systemd:/x\n4:memory:/y\n0::/z/a\n": "/z/a",
		"0::/\n":            "/",
		"0::/a (deleted)\n": "/a (deleted)",
		"9:memory:/y\n":     "",
		"":                  "",
		"0::\n":             "",
		"0::../a\n":         "",
		"0::/with: colon\n": "/with: colon",
	} {
		got, ok := parseCgroup([]byte(in))
		if got != want || ok != (want != "") {
			t.Errorf("%q: got %q, %v; want %q", in, got, ok, want)
		}
	}
}

func TestCgroupMount(t *testing.T) {
	const v1 = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
	for in, want := range map[string]string{
		v1 + "38 31 0:35 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw\n":                   "/sys/fs/cgroup/unified",
		"38 31 0:35 / /sys/fs/cgroup rw shared:4 - cgroup2 none rw,nsdelegate\n":                      "/sys/fs/cgroup",
		"8 1 0:35 /a /mnt/part rw - cgroup2 none rw\n9 1 0:35 / /mnt/all rw - cgroup2 none rw\n":      "/mnt/all",
		"8 1 0:35 / /mnt/with\\040space rw - cgroup2 none rw\n9 1 0:35 / /mnt/b rw - cgroup2 none rw": "/mnt/with space",
	} {
		if got, err := cgroupMount(strings.NewReader(in)); err != nil || got != want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	if _, err := cgroupMount(strings.NewReader(v1)); !errors.Is(err, ErrNoCgroup2) {
		t.Errorf("v1 only: got %v", err)
	}
}

func TestEffective(t *testing.T) {
	const status = "Name:\tx\nUid:\t1000\t33\t5\t6\nGid:\t1\n"
	if got := effective([]byte(status), "Uid:"); got != 33 {
		t.Errorf("Uid: got %d, want 33", got)
	}
	for _, name := range []string{"Gid:", "Xid:"} {
		if got := effective([]byte(status), name); got != 65534 {
			t.Errorf("%s got %d, want the overflow id", name, got)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("7 (a) Z 9 (b) R 3" + statTail))
	f.Add([]byte("7 ("))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseStat(b); err != nil && s != (stat{}) {
			t.Errorf("an error and %+v", s)
		}
	})
}

func FuzzParseCmdline(f *testing.F) {
	f.Add([]byte("a\x00\xff\x00b"))
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		argv := parseCmdline(b)
		for _, a := range argv {
			total += len(a)
			if !utf8.ValidString(a) {
				t.Errorf("%q is not UTF-8", a)
			}
		}
		if len(argv) > MaxArgs || total > MaxArgBytes {
			t.Errorf("%d arguments of %d bytes", len(argv), total)
		}
	})
}

func FuzzParseCgroup(f *testing.F) {
	f.Add([]byte("9:name=systemd:/x\n0::/z/a\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		path, ok := parseCgroup(b)
		if ok != strings.HasPrefix(path, "/") {
			t.Errorf("%q, %v", path, ok)
		}
		p := PlaceOf(path)
		if p.Container != "" && !isHex(p.Container, 64) {
			t.Errorf("container %q", p.Container)
		}
		if strings.Contains(p.Unit, "/") || p.UserUnit != "" && !isUserManager(p.Unit) {
			t.Errorf("%+v", p)
		}
	})
}

func FuzzCgroupMount(f *testing.F) {
	f.Add("38 31 0:35 / /sys/fs/cgroup rw shared:4 - cgroup2 none rw\n")
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := cgroupMount(strings.NewReader(s)); err == nil && got == "" {
			t.Error("no error and no mount")
		}
	})
}
