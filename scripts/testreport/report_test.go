package main

import (
	"bytes"
	"strings"
	"testing"
)

// stream is what go test says of one package with each kind of outcome.
const stream = `
{"Action":"run","Package":"p","Test":"TestParent"}
{"Action":"run","Package":"p","Test":"TestParent/a"}
{"Action":"pass","Package":"p","Test":"TestParent/a"}
{"Action":"run","Package":"p","Test":"TestParent/b"}
{"Action":"output","Package":"p","Test":"TestParent/b","Output":"    x_test.go:3: wrong\n"}
{"Action":"fail","Package":"p","Test":"TestParent/b"}
{"Action":"fail","Package":"p","Test":"TestParent"}
{"Action":"run","Package":"p","Test":"TestRoot"}
{"Action":"output","Package":"p","Test":"TestRoot","Output":"=== RUN   TestRoot\n"}
{"Action":"output","Package":"p","Test":"TestRoot","Output":"    x_test.go:9: needs root\n"}
{"Action":"skip","Package":"p","Test":"TestRoot"}
{"Action":"run","Package":"p","Test":"TestCutOff"}
{"Action":"fail","Package":"p","Elapsed":1.5}
{"Action":"build-output","ImportPath":"q","Output":"q.go:1: no such thing\n"}
{"Action":"fail","Package":"q","FailedBuild":"q"}
{"Action":"skip","Package":"notests"}
not json
`

func TestReport(t *testing.T) {
	var out bytes.Buffer
	r := newReport(&out)
	if err := read(strings.NewReader(strings.TrimPrefix(stream, "\n")), r); err != nil {
		t.Fatal(err)
	}
	// b, the one cut off, and the package that did not build
	if got, want := r.finish(), (totals{passed: 1, failed: 3, skipped: 1}); got != want {
		t.Errorf("totals are %v, want %v", got, want)
	}
	for _, want := range []string{"x_test.go:3: wrong", "q.go:1: no such thing", "not json", "FAIL q", "skipped (needs root):\n  p TestRoot"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("report lacks %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "notests") {
		t.Errorf("a package without tests has a line:\n%s", out.String())
	}
}

func TestParentThatFailsAloneCounts(t *testing.T) {
	r := newReport(&bytes.Buffer{})
	r.add(event{Action: "pass", Package: "p", Test: "TestA/sub"})
	r.add(event{Action: "fail", Package: "p", Test: "TestA"})
	r.add(event{Action: "fail", Package: "p"})
	if got, want := r.finish(), (totals{passed: 1, failed: 1}); got != want {
		t.Errorf("totals are %v, want %v", got, want)
	}
}
