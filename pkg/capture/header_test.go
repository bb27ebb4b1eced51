package capture

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/flow"
)

var (
	comments   = regexp.MustCompile(`(?s)/\*.*?\*/`)
	enumerator = regexp.MustCompile(`^(\w+)(?:\s*=\s*(\w+))?$`)
)

// enum reads an enum of bpf/flow.h: its names in order, with their numbers.
func enum(t *testing.T, name string) (names []string, numbers map[string]int) {
	t.Helper()
	b, err := os.ReadFile("../../bpf/flow.h")
	if err != nil {
		t.Fatal(err)
	}
	source := comments.ReplaceAllString(string(b), "")
	_, rest, found := strings.Cut(source, "enum "+name+" {")
	body, _, closed := strings.Cut(rest, "}")
	if !found || !closed {
		t.Fatalf("bpf/flow.h has no enum %s", name)
	}
	numbers = map[string]int{"REASON_END": kernelReasons}
	next := 0
	for _, part := range strings.Split(body, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		m := enumerator.FindStringSubmatch(part)
		if m == nil {
			t.Fatalf("enum %s: cannot read %q", name, part)
		}
		if m[2] != "" {
			if n, ok := numbers[m[2]]; ok {
				next = n
			} else if next, err = strconv.Atoi(m[2]); err != nil {
				t.Fatalf("enum %s: %v", name, err)
			}
		}
		names = append(names, m[1])
		numbers[m[1]] = next
		next++
	}
	return names, numbers
}

// TestReasonsAgree: bpf/flow.h and pkg/flow give the kernel's reasons the same names and numbers.
func TestReasonsAgree(t *testing.T) {
	names, numbers := enum(t, "reason")
	if len(names) != int(lastKernelReason)+2 || names[len(names)-1] != "REASON_END" || numbers["REASON_END"] != kernelReasons {
		t.Fatalf("enum reason: %v; want %d reasons and REASON_END = %d", names, lastKernelReason+1, kernelReasons)
	}
	for n, name := range names[:len(names)-1] {
		want := "none"
		if n > 0 {
			want = flow.Reason(n).String()
		}
		if got := strings.ToLower(strings.TrimPrefix(name, "REASON_")); got != want || numbers[name] != n {
			t.Errorf("%s = %d; pkg/flow has %q for %d", name, numbers[name], want, n)
		}
	}
	if unknown := flow.Reason(len(names) - 1).String(); !strings.HasPrefix(unknown, "reason(") {
		t.Errorf("pkg/flow has a kernel reason %q that bpf/flow.h lacks", unknown)
	}
}

func TestVerdictsAgree(t *testing.T) {
	names, _ := enum(t, "verdict")
	if len(names) != 3 {
		t.Fatalf("enum verdict: %v", names)
	}
	for n, name := range names {
		if got, want := strings.ToLower(strings.TrimPrefix(name, "VERDICT_")), flow.Verdict(n).String(); got != want {
			t.Errorf("verdict %d is %q in C and %q in Go", n, got, want)
		}
	}
}

func TestCountersAgree(t *testing.T) {
	names, numbers := enum(t, "counter")
	if len(names) != len(counterNames)+1 {
		t.Fatalf("enum counter: %v; Go has %v", names, counterNames)
	}
	for _, name := range names[:len(counterNames)] {
		if got, want := strings.ToLower(strings.TrimPrefix(name, "COUNTER_")), counterName(uint32(numbers[name])); got != want {
			t.Errorf("counter %d is %q in C and %q in Go", numbers[name], got, want)
		}
	}
	if got := counterName(uint32(numbers["COUNTERS"])); got != "" {
		t.Errorf("Go has a counter %q that C lacks", got)
	}
}

func TestOtherEnumsAgree(t *testing.T) {
	_, events := enum(t, "event_kind")
	_, scopes := enum(t, "scope")
	for name, want := range map[string]int{
		"EVENT_PASS": int(EventPass), "EVENT_DENY": int(EventDeny), "EVENT_EXEC": int(EventExec), "EVENT_EXIT": int(EventExit), "EVENT_JOIN": int(EventJoin),
		"EVENT_CGROUP": int(EventCgroup),
	} {
		if events[name] != want {
			t.Errorf("%s = %d, Go has %d", name, events[name], want)
		}
	}
	for name, want := range map[string]uint32{"SCOPE_INCLUDE": scopeInclude, "SCOPE_EXCLUDE": scopeExclude} {
		if scopes[name] != int(want) {
			t.Errorf("%s = %d, Go has %d", name, scopes[name], want)
		}
	}
}

// TestObjectAgrees: the committed object has the layout and the limits that Go counts on.
func TestObjectAgrees(t *testing.T) {
	spec, err := loadOutwarden()
	if err != nil {
		t.Fatal(err)
	}
	var layout uint32
	if err := spec.Variables["layout_version"].Get(&layout); err != nil || layout != layoutVersion {
		t.Errorf("layout %d, %v; want %d", layout, err, layoutVersion)
	}
	if size := spec.Variables["listener_ipv4"].Size(); size != MaxListeners*20 {
		t.Errorf("listener_ipv4 has %d bytes, want %d listeners of 20", size, MaxListeners)
	}
	for name, p := range spec.Programs {
		if p.License != "Dual MIT/GPL" {
			t.Errorf("program %s: licence %q", name, p.License)
		}
	}
	for name := range spec.Maps {
		if limit := 15; len(name) > limit {
			t.Errorf("map %s: bpftool shows no more than %d characters", name, limit)
		}
	}
	if want := fmt.Sprint(uint32(kernelReasons) + uint32(len(counterNames))); fmt.Sprint(spec.Maps["counters"].MaxEntries) != want {
		t.Errorf("%d counters, want %s", spec.Maps["counters"].MaxEntries, want)
	}
}
