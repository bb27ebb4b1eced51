package proxy_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/proxy"
)

// The cases that the conformance file has at the least; a fuller one may have more.
const (
	mustRefuse = 109
	mustAccept = 30
)

// firstPiece is what the first read of a connection takes, in bytes.
const firstPiece = 512

type conformanceCase struct {
	Name, Group, Expect, Stage string
	Raw                        []byte `json:"raw_base64"`
	Requests                   int    `json:"requests"`
}

func loadCases(t *testing.T) []conformanceCase {
	t.Helper()
	dir := os.Getenv("OUTWARDEN_CONFORMANCE")
	if dir == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("OUTWARDEN_CONFORMANCE is not set")
		}
		t.Skip("OUTWARDEN_CONFORMANCE is not set: no conformance data")
	}
	raw, err := os.ReadFile(filepath.Join(dir, "http1", "cases.jsonl"))
	must(t, err)
	var out []conformanceCase
	counts := map[string]int{}
	for line := range bytes.Lines(raw) {
		var c conformanceCase
		must(t, json.Unmarshal(line, &c))
		counts[c.Expect]++
		out = append(out, c)
	}
	if counts["reject"] < mustRefuse || counts["accept"] < mustAccept {
		t.Fatalf("cases: %v; want %d to refuse and %d to accept at the least", counts, mustRefuse, mustAccept)
	}
	return out
}

// TestConformance sends 139 cases through the whole interceptor, over TLS on a
// route that matches on the path: in one piece, byte by byte, and cut in two at
// several places. 109 are refused, 30 are forwarded byte for byte.
func TestConformance(t *testing.T) {
	cases := loadCases(t)
	w := newWorld(t)
	config := &tls.Config{Certificates: []tls.Certificate{w.partner.leaf(t, []string{host, "my_" + host})}}
	plan := proxy.Plan{Upstream: w.profile("partner")}
	to := policy.To{Hosts: hosts(t, "*.example.com"), Paths: paths(t, "/**")}
	w.use(policy.Deny,
		rule{policy.Route{Name: "paths", Action: policy.Intercept, To: to}, plan},
		rule{policy.Route{Name: "rest", Action: policy.Intercept, To: policy.To{Hosts: to.Hosts}}, plan},
	)
	for _, c := range cases {
		t.Run(c.Group+"/"+c.Name, func(t *testing.T) {
			for name, cuts := range c.cuts() {
				c.run(t, w, newOrigin(t, config, nil), name, cuts)
			}
		})
	}
}

// serverName is the name that the connection is opened for.
func (c *conformanceCase) serverName() string {
	if bytes.Contains(c.Raw, []byte("my_"+host)) {
		return "my_" + host
	}
	return host
}

// elsewhere reports whether the request is well formed but names another host or
// port than the connection is for.
func (c *conformanceCase) elsewhere() bool {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(c.Raw)))
	return err == nil && strings.TrimRight(strings.ToLower(r.Host), ".:") != c.serverName()
}

// forwarded is what the origin gets of an accepted case: all of it but an empty line
// before a request (RFC 9112 section 2.2), and what is of the workload's connection alone.
func (c *conformanceCase) forwarded() (out []byte) {
	for rest := c.Raw; ; {
		rest = bytes.TrimPrefix(rest, []byte("\r\n"))
		head, _, whole := bytes.Cut(rest, []byte("\r\n\r\n"))
		if !whole {
			return append(out, rest...)
		}
		end := messageLength(rest)
		out = append(append(out, endToEnd(string(head))...), rest[len(head)+len("\r\n"):end]...)
		rest = rest[end:]
	}
}

// messageLength is how many bytes the request at the start of b takes, all of them if
// net/http can't say.
func messageLength(b []byte) int {
	left := bytes.NewReader(b)
	read := bufio.NewReader(left)
	r, err := http.ReadRequest(read)
	if err != nil {
		return len(b)
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return len(b)
	}
	return len(b) - left.Len() - read.Buffered()
}

// endToEnd is a head without the fields that belong to one connection (RFC 9110 section
// 7.6.1). An upgrade to WebSocket and a request for trailers go on.
func endToEnd(head string) string {
	var options []string
	lines := strings.Split(strings.ToLower(head), "\r\n")
	for _, line := range lines {
		if value, ok := strings.CutPrefix(line, "connection:"); ok {
			for option := range strings.SplitSeq(value, ",") {
				options = append(options, strings.TrimSpace(option))
			}
		}
	}
	webSocket := slices.Contains(options, "upgrade") && slices.ContainsFunc(lines, func(line string) bool {
		value, ok := strings.CutPrefix(line, "upgrade:")
		return ok && strings.TrimSpace(value) == "websocket"
	})
	stay := []string{"", "keep-alive", "te"}
	if webSocket {
		stay = append(stay, "upgrade")
	}
	goesOn := func(name, value string) bool {
		switch value = strings.TrimSpace(value); name {
		case "keep-alive", "proxy-connection":
			return false
		case "te":
			return value == "trailers"
		case "upgrade":
			return webSocket
		case "connection":
			return !slices.ContainsFunc(strings.Split(value, ","), func(option string) bool {
				return !slices.Contains(stay, strings.TrimSpace(option))
			})
		}
		return !slices.Contains(options, name)
	}
	var out strings.Builder
	for i, line := range strings.Split(head, "\r\n") {
		name, value, field := strings.Cut(lines[i], ":")
		if i == 0 || !field || goesOn(name, value) {
			out.WriteString(line + "\r\n")
		}
	}
	return out.String()
}

// answers counts the origin's answers, whose heads may say that they are the last.
func (c *conformanceCase) answers(response string) int {
	want := okResponse
	if bytes.HasPrefix(c.Raw, []byte("HEAD ")) {
		want = strings.TrimSuffix(okResponse, "ok")
	}
	return strings.Count(strings.ReplaceAll(response, "Connection: close\r\n", ""), want)
}

// cuts are the ways to send the case.
func (c *conformanceCase) cuts() map[string][]int {
	each := make([]int, len(c.Raw))
	for i := range each {
		each[i] = i
	}
	ways := map[string][]int{"whole": nil, "byte by byte": each}
	for _, at := range []int{len(c.Raw) / 3, len(c.Raw) / 2, len(c.Raw) - 1} {
		ways[fmt.Sprintf("cut at %d", at)] = []int{at}
	}
	return ways
}

func (c *conformanceCase) run(t *testing.T, w *world, o *origin, way string, cuts []int) {
	t.Helper()
	w.records.forget()
	conn := w.tls(as{original: o.addr}, c.serverName())
	from := 0
	for _, cut := range append(slices.Clone(cuts), len(c.Raw)) {
		_, _ = conn.Write(c.Raw[from:cut])
		from = cut
	}
	_ = conn.CloseWrite()
	response, _ := io.ReadAll(conn)
	_ = conn.Close()
	w.quiet()
	o.settle(w)
	switch {
	case c.Expect == "accept" && c.elsewhere():
		c.misdirected(t, w, o, way)
		return
	case c.Expect == "accept":
		c.accepted(t, w, o, way, string(response))
		return
	}
	c.refused(t, w, o, way, string(response))
}

func (c *conformanceCase) accepted(t *testing.T, w *world, o *origin, way, response string) {
	t.Helper()
	records := w.records.of(audit.KindRequest)
	if len(records) != c.Requests || c.answers(response) != c.Requests {
		t.Fatalf("%s: records %+v and response %q, want %d requests", way, records, response, c.Requests)
	}
	for _, r := range records {
		if r.Status != 200 || r.Reason != "" {
			t.Errorf("%s: record %+v", way, r)
		}
	}
	if got := o.got(); !bytes.Equal(got, c.forwarded()) {
		t.Errorf("%s: forwarded %q\nreceived %q", way, got, c.Raw)
	}
}

// misdirected: what is well formed is still for the host and port connected to.
func (c *conformanceCase) misdirected(t *testing.T, w *world, o *origin, way string) {
	t.Helper()
	records := w.records.of(audit.KindRequest)
	if len(records) != c.Requests || records[0].Reason != flow.ReasonAuthorityMismatch.String() || len(o.got()) > 0 {
		t.Errorf("%s: records %+v, forwarded %q", way, records, o.got())
	}
}

func (c *conformanceCase) refused(t *testing.T, w *world, o *origin, way, response string) {
	t.Helper()
	records := w.records.of(audit.KindRequest)
	if len(records) == 0 || records[len(records)-1].Reason == "" {
		t.Fatalf("%s: no reason in %+v, response %q", way, records, response)
	}
	reason := records[len(records)-1].Reason
	whole := wholeRequests(o.got())
	if served := strings.Count(response, okResponse); served > len(records)-1 || whole != served {
		t.Errorf("%s: %d requests answered, %d of %d came whole to the origin; response %q", way, served, whole, len(records), response)
	}
	// What shows at once costs the origin no byte; a body that is cut short shows
	// only at its end, and a long one only in a later piece.
	atOnce := c.Stage != "body" || way == "whole" && len(c.Raw) <= firstPiece && reason != flow.ReasonWorkloadClosed.String()
	if got := o.got(); atOnce && len(records) == 1 && len(got) > 0 {
		t.Errorf("%s: refused for %s, but forwarded %q", way, reason, got)
	}
}

// wholeRequests counts what a lenient reader would take for whole requests.
func wholeRequests(b []byte) (n int) {
	r := bufio.NewReader(bytes.NewReader(b))
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return n
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return n
		}
		n++
	}
}
