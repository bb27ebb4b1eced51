package proxy_test

import (
	"encoding/json"
	"testing"

	"github.com/Netflix/bettertls/test-suites/nameconstraints"
	"github.com/Netflix/bettertls/test-suites/pathbuilding"
	test_case "github.com/Netflix/bettertls/test-suites/test-case"
)

// sampled says that one of so many of the 9,491 cases of name constraints is run;
// all are in `make conformance-tls`.
const sampled = 23

// TestBetterTLS is scorecard A2: Netflix's BetterTLS, its cases and its chains,
// with the interceptor between client and server. The verdict must be Go's own,
// and the one that the suite expects.
func TestBetterTLS(t *testing.T) {
	t.Run("path building", func(t *testing.T) { betterTLS(t, pathbuilding.NewTestCaseProvider(), 1, 81) })
	step := sampled
	if testing.Short() { // the race detector looks at the same few paths in each
		step *= 10
	}
	if conformanceInFull() {
		step = 1
	}
	t.Run("name constraints", func(t *testing.T) { betterTLS(t, nameconstraints.NewTestCaseProvider(), step, 9491) })
}

func betterTLS(t *testing.T, suite test_case.TestCaseProvider, step int, want uint) {
	count, err := suite.GetTestCaseCount()
	must(t, err)
	if count != want {
		t.Errorf("the suite has %d cases, want %d", count, want)
	}
	c := newChains(t)
	accepted, refused := 0, 0
	for i := 0; i < int(count); i += step {
		test, err := suite.GetTestCase(uint(i))
		must(t, err)
		if c.betterTLS(i, test) {
			accepted++
		} else {
			refused++
		}
	}
	if accepted == 0 || refused == 0 {
		t.Errorf("all %d were refused, or all %d accepted", refused, accepted)
	}
	t.Logf("%d of %d cases: %d accepted, %d refused", accepted+refused, count, accepted, refused)
}

// betterTLS reports whether the case was accepted through the interceptor.
func (c *chains) betterTLS(i int, test test_case.TestCase) bool {
	t := c.w.t
	chain, err := test.GetCertificates(c.w.partner.cert, c.w.partner.key)
	must(t, err)
	c.shown.Store(chain)
	direct, through := c.direct(test.GetHostname(), c.w.partner.pool()), c.through(test.GetHostname())
	if (direct == nil) != (through == "") {
		t.Errorf("case %d: directly %v, through us %q\n%s", i, direct, through, text(test))
	}
	switch test.ExpectedResult() {
	case test_case.EXPECTED_RESULT_PASS:
		if through != "" {
			t.Errorf("case %d: refused with %s, the suite wants it accepted\n%s", i, through, text(test))
		}
	case test_case.EXPECTED_RESULT_FAIL:
		if through == "" {
			t.Errorf("case %d: accepted, the suite wants it refused\n%s", i, text(test))
		}
	}
	return through == ""
}

func text(test test_case.TestCase) string {
	b, err := json.Marshal(test)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
