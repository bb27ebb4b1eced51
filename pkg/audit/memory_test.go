package audit

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
)

// What is written is no part of the writer's memory for long, and stays readable
// and whole, as does what is written behind it.
func TestWrittenPagesAreGivenBack(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	appendN(t, l, 3000)
	path := activePath(t, dir)
	l.giveBack()
	if kb := residentOf(t, path); kb > 128 {
		t.Errorf("%d kB of the segment are resident", kb)
	}
	appendN(t, l, 3000)
	if r := verified(t, dir); r.Records != 6000 {
		t.Errorf("%d records", r.Records)
	}
	closeLog(t, l)
	if got := all(t, dir, Query{}); len(got) != 6000 {
		t.Errorf("%d records read", len(got))
	}
}

// residentOf is how much of a mapped file is in this process's memory, in kB.
func residentOf(t *testing.T, path string) (kb int) {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mapped := false
	for s := bufio.NewScanner(f); s.Scan(); {
		if strings.HasSuffix(s.Text(), " "+path) {
			mapped = true
		}
		if mapped && strings.HasPrefix(s.Text(), "Rss:") {
			if _, err := fmt.Sscanf(s.Text(), "Rss: %d kB", &kb); err != nil {
				t.Fatal(err)
			}
			return kb
		}
	}
	t.Fatalf("%s is not mapped", path)
	return 0
}
