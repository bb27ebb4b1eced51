package proxy_test

import (
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/policy"
)

// invalidRequests are outside RFC 9112 or RFC 9110, each in one place. LINE in
// one is the rest of a good head.
var invalidRequests = map[string]string{
	// request line
	"no target":               "GET HTTP/1.1\r\nLINE",
	"no version":              "GET /v1/x\r\nLINE",
	"empty method":            " /v1/x HTTP/1.1\r\nLINE",
	"two spaces":              "GET  /v1/x HTTP/1.1\r\nLINE",
	"tab for a space":         "GET\t/v1/x\tHTTP/1.1\r\nLINE",
	"space at the end":        "GET /v1/x HTTP/1.1 \r\nLINE",
	"space in the target":     "GET /v1/ x HTTP/1.1\r\nLINE",
	"separator in the method": "GE(T /v1/x HTTP/1.1\r\nLINE",
	"NUL in the method":       "GE\x00T /v1/x HTTP/1.1\r\nLINE",
	"NUL in the target":       "GET /v1/\x00x HTTP/1.1\r\nLINE",
	"raw UTF-8 in the target": "GET /v1/é HTTP/1.1\r\nLINE",
	"control in the target":   "GET /v1/\x1b[0m HTTP/1.1\r\nLINE",
	"fragment":                "GET /v1/x#y HTTP/1.1\r\nLINE",
	"bad escape":              "GET /v1/%zz HTTP/1.1\r\nLINE",
	"cut escape":              "GET /v1/%4 HTTP/1.1\r\nLINE",
	"relative target":         "GET v1/x HTTP/1.1\r\nLINE",
	"asterisk with GET":       "GET * HTTP/1.1\r\nLINE",
	"other scheme":            "GET ftp://" + host + "/v1/x HTTP/1.1\r\nLINE",
	"userinfo in the target":  "GET https://a@" + host + "/v1/x HTTP/1.1\r\nLINE",
	"lower case version":      "GET /v1/x http/1.1\r\nLINE",
	"version 0.9":             "GET /v1/x HTTP/0.9\r\nLINE",
	"version 1.2":             "GET /v1/x HTTP/1.2\r\nLINE",
	"version 2.0":             "GET /v1/x HTTP/2.0\r\nLINE",
	"version 1.10":            "GET /v1/x HTTP/1.10\r\nLINE",
	"version with a sign":     "GET /v1/x HTTP/+1.1\r\nLINE",
	"other protocol":          "GET /v1/x ICE/1.1\r\nLINE",
	"bare LF":                 "GET /v1/x HTTP/1.1\nLINE",
	"bare CR":                 "GET /v1/x HTTP/1.1\rLINE",
	"two CR":                  "GET /v1/x HTTP/1.1\r\r\nLINE",

	// fields
	"space before the colon":  "GET /v1/x HTTP/1.1\r\nX-A : b\r\nLINE",
	"tab before the colon":    "GET /v1/x HTTP/1.1\r\nX-A\t: b\r\nLINE",
	"space before the name":   "GET /v1/x HTTP/1.1\r\n X-A: b\r\nLINE",
	"folded":                  "GET /v1/x HTTP/1.1\r\nX-A: b\r\n c\r\nLINE",
	"folded with a tab":       "GET /v1/x HTTP/1.1\r\nX-A: b\r\n\tc\r\nLINE",
	"no colon":                "GET /v1/x HTTP/1.1\r\nX-A\r\nLINE",
	"empty name":              "GET /v1/x HTTP/1.1\r\n: b\r\nLINE",
	"separator in the name":   "GET /v1/x HTTP/1.1\r\nX(A): b\r\nLINE",
	"UTF-8 in the name":       "GET /v1/x HTTP/1.1\r\nX-é: b\r\nLINE",
	"NUL in the name":         "GET /v1/x HTTP/1.1\r\nX\x00A: b\r\nLINE",
	"NUL in the value":        "GET /v1/x HTTP/1.1\r\nX-A: b\x00c\r\nLINE",
	"DEL in the value":        "GET /v1/x HTTP/1.1\r\nX-A: b\x7fc\r\nLINE",
	"bare CR in the value":    "GET /v1/x HTTP/1.1\r\nX-A: b\rc\r\nLINE",
	"bare LF after the value": "GET /v1/x HTTP/1.1\r\nX-A: b\nLINE",
	"LF CR after the value":   "GET /v1/x HTTP/1.1\r\nX-A: b\n\rLINE",
	"bare LF for the end":     "GET /v1/x HTTP/1.1\r\nHost: " + host + "\r\n\n",

	// Host
	"no Host":              "GET /v1/x HTTP/1.1\r\n\r\n",
	"no Host in 1.0":       "GET /v1/x HTTP/1.0\r\n\r\n",
	"empty Host":           "GET /v1/x HTTP/1.1\r\nHost:\r\n\r\n",
	"two Hosts":            "GET /v1/x HTTP/1.1\r\nHost: " + host + "\r\nLINE",
	"Host with a path":     "GET /v1/x HTTP/1.1\r\nHost: " + host + "/x\r\n\r\n",
	"Host with userinfo":   "GET /v1/x HTTP/1.1\r\nHost: a@" + host + "\r\n\r\n",
	"Host list":            "GET /v1/x HTTP/1.1\r\nHost: " + host + ", " + host + "\r\n\r\n",
	"Host with a bad port": "GET /v1/x HTTP/1.1\r\nHost: " + host + ":x\r\n\r\n",

	// framing
	"two lengths":             "POST /v1/x HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\nLINEab",
	"the same length twice":   "POST /v1/x HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\nLINEa",
	"length list":             "POST /v1/x HTTP/1.1\r\nContent-Length: 1, 1\r\nLINEa",
	"empty length":            "POST /v1/x HTTP/1.1\r\nContent-Length:\r\nLINE",
	"length with a plus":      "POST /v1/x HTTP/1.1\r\nContent-Length: +1\r\nLINEa",
	"length with a minus":     "POST /v1/x HTTP/1.1\r\nContent-Length: -1\r\nLINE",
	"length in hex":           "POST /v1/x HTTP/1.1\r\nContent-Length: 0x1\r\nLINEa",
	"length with a space":     "POST /v1/x HTTP/1.1\r\nContent-Length: 1 1\r\nLINEa",
	"length with a point":     "POST /v1/x HTTP/1.1\r\nContent-Length: 1.0\r\nLINEa",
	"length of 2^64":          "POST /v1/x HTTP/1.1\r\nContent-Length: 18446744073709551616\r\nLINE",
	"length and chunks":       "POST /v1/x HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nLINE0\r\n\r\n",
	"chunks and length":       "POST /v1/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\nLINE0\r\n\r\n",
	"chunked twice":           "POST /v1/x HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\nLINE0\r\n\r\n",
	"chunked in two lines":    "POST /v1/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\nLINE0\r\n\r\n",
	"chunked not last":        "POST /v1/x HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\nLINE0\r\n\r\n",
	"other coding":            "POST /v1/x HTTP/1.1\r\nTransfer-Encoding: xchunked\r\nLINE0\r\n\r\n",
	"identity":                "POST /v1/x HTTP/1.1\r\nTransfer-Encoding: identity\r\nLINE",
	"empty coding":            "POST /v1/x HTTP/1.1\r\nTransfer-Encoding:\r\nLINE",
	"quoted coding":           "POST /v1/x HTTP/1.1\r\nTransfer-Encoding: \"chunked\"\r\nLINE0\r\n\r\n",
	"chunks in 1.0":           "POST /v1/x HTTP/1.0\r\nTransfer-Encoding: chunked\r\nLINE0\r\n\r\n",
	"content with CONNECT":    "CONNECT " + host + ":443 HTTP/1.1\r\nContent-Length: 1\r\nHost: " + host + ":443\r\n\r\na",
	"Connection names length": "POST /v1/x HTTP/1.1\r\nContent-Length: 1\r\nConnection: content-length\r\nLINEa",

	// chunks
	"size without digits":    chunks + "\r\nhello\r\n0\r\n\r\n",
	"size in no hex":         chunks + "g\r\nhello\r\n0\r\n\r\n",
	"size with 0x":           chunks + "0x5\r\nhello\r\n0\r\n\r\n",
	"size with a sign":       chunks + "+5\r\nhello\r\n0\r\n\r\n",
	"size of 2^64":           chunks + "10000000000000005\r\nhello\r\n0\r\n\r\n",
	"space before the size":  chunks + " 5\r\nhello\r\n0\r\n\r\n",
	"bare LF after the size": chunks + "5\nhello\r\n0\r\n\r\n",
	"bare CR after the size": chunks + "5\rhello\r\n0\r\n\r\n",
	"bare LF after data":     chunks + "5\r\nhello\n0\r\n\r\n",
	"data too long":          chunks + "5\r\nhello!\r\n0\r\n\r\n",
	"data too short":         chunks + "6\r\nhello\r\n0\r\n\r\n",
	"LF in an extension":     chunks + "5;a\nb\r\nhello\r\n0\r\n\r\n",
	"CR in an extension":     chunks + "5;a\rb\r\nhello\r\n0\r\n\r\n",
	"NUL in an extension":    chunks + "5;a\x00\r\nhello\r\n0\r\n\r\n",
	"folded trailer":         chunks + "0\r\nX-A: b\r\n c\r\n\r\n",
	"length as a trailer":    chunks + "0\r\nContent-Length: 5\r\n\r\n",
	"coding as a trailer":    chunks + "0\r\nTransfer-Encoding: chunked\r\n\r\n",
	"Host as a trailer":      chunks + "0\r\nHost: evil.example\r\n\r\n",
	"bare LF in trailers":    chunks + "0\r\nX-A: b\n\r\n",
	"bare LF for the end of": chunks + "0\r\n\n",
}

const chunks = "POST /v1/x HTTP/1.1\r\nHost: " + host + "\r\nTransfer-Encoding: chunked\r\n\r\n"

// TestInvalidRequests is C3 towards the upstream: nothing invalid is forwarded,
// what comes behind it on the connection neither, and the record has the reason.
func TestInvalidRequests(t *testing.T) {
	w := newWorld(t)
	w.use(policy.Intercept, w.openRoute())
	for name, request := range invalidRequests {
		t.Run(name, func(t *testing.T) {
			w.records.forget()
			seen := &witness{}
			o := w.originFor(seen.serve, host)
			request = strings.Replace(request, "LINE", "Host: "+host+"\r\n\r\n", 1)
			got := w.say(o, request+strings.Replace(plainGet, "/v1/x", "/smuggled", 1))
			w.quiet()
			o.settle(w)
			if status := statusOf(got); status < 400 || status > 505 || strings.Count(got, "HTTP/1.1 ") != 1 {
				t.Errorf("answer %q", got)
			}
			if len(seen.requests) > 0 || strings.Contains(string(o.got()), "smuggled") {
				t.Errorf("origin read %v of %q", seen.requests, o.got())
			}
			r := w.request()
			if r.Decision != "deny" || r.Reason == "" || r.Status != statusOf(got) {
				t.Errorf("record %+v", r)
			}
		})
	}
}

// invalidResponses likewise.
var invalidResponses = map[string]string{
	// status line
	"no version":             "200 OK\r\nContent-Length: 0\r\n\r\n",
	"lower case version":     "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	"version 0.9":            "HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
	"version 1.2":            "HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
	"version 3":              "HTTP/3 200 OK\r\nContent-Length: 0\r\n\r\n",
	"status of two digits":   "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
	"status of four digits":  "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
	"status of letters":      "HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
	"status below 100":       "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
	"status with a sign":     "HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n",
	"two spaces":             "HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
	"tab for a space":        "HTTP/1.1\t200\tOK\r\nContent-Length: 0\r\n\r\n",
	"NUL in the phrase":      "HTTP/1.1 200 O\x00K\r\nContent-Length: 0\r\n\r\n",
	"bare CR in the phrase":  "HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n",
	"bare LF":                "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
	"two CR":                 "HTTP/1.1 200 OK\r\r\nContent-Length: 0\r\n\r\n",
	"empty line before":      "\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	"body before the status": "evil\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",

	// fields
	"space before the colon":  "HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 0\r\n\r\n",
	"space before the name":   "HTTP/1.1 200 OK\r\n X-A: b\r\nContent-Length: 0\r\n\r\n",
	"folded":                  "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
	"folded with a tab":       "HTTP/1.1 200 OK\r\nX-A: b\r\n\tc\r\nContent-Length: 0\r\n\r\n",
	"no colon":                "HTTP/1.1 200 OK\r\nX-A\r\nContent-Length: 0\r\n\r\n",
	"empty name":              "HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 0\r\n\r\n",
	"separator in the name":   "HTTP/1.1 200 OK\r\nX(A): b\r\nContent-Length: 0\r\n\r\n",
	"NUL in the name":         "HTTP/1.1 200 OK\r\nX\x00A: b\r\nContent-Length: 0\r\n\r\n",
	"NUL in the value":        "HTTP/1.1 200 OK\r\nX-A: b\x00\r\nContent-Length: 0\r\n\r\n",
	"DEL in the value":        "HTTP/1.1 200 OK\r\nX-A: b\x7f\r\nContent-Length: 0\r\n\r\n",
	"bare CR in the value":    "HTTP/1.1 200 OK\r\nX-A: b\rSet-Cookie: evil\r\nContent-Length: 0\r\n\r\n",
	"bare LF after the value": "HTTP/1.1 200 OK\r\nX-A: b\nSet-Cookie: evil\r\nContent-Length: 0\r\n\r\n",
	"bare LF for the end":     "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\n",

	// framing
	"two lengths":           "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nevil!",
	"the same length twice": "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nevil",
	"length list":           "HTTP/1.1 200 OK\r\nContent-Length: 4, 4\r\n\r\nevil",
	"empty length":          "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
	"length with a plus":    "HTTP/1.1 200 OK\r\nContent-Length: +4\r\n\r\nevil",
	"length with a minus":   "HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\nevil",
	"length in hex":         "HTTP/1.1 200 OK\r\nContent-Length: 0x4\r\n\r\nevil",
	"length of 2^64":        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\nevil",
	"length and chunks":     "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
	"chunked twice":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
	"chunked not last":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
	"other coding":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
	"identity":              "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nevil",
	"chunks in 1.0":         "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
	"chunks with 204":       "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",

	// chunks, where the first is bad
	"size without digits":    chunked + "\r\nevil\r\n0\r\n\r\n",
	"size in no hex":         chunked + "g\r\nevil\r\n0\r\n\r\n",
	"size with 0x":           chunked + "0x4\r\nevil\r\n0\r\n\r\n",
	"size with a sign":       chunked + "-4\r\nevil\r\n0\r\n\r\n",
	"size of 2^64":           chunked + "10000000000000004\r\nevil\r\n0\r\n\r\n",
	"bare LF after the size": chunked + "4\nevil\r\n0\r\n\r\n",
	"LF in an extension":     chunked + "4;a\nb\r\nevil\r\n0\r\n\r\n",

	// interim responses
	"switch nobody asked for": "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nevil",
	"bad interim response":    "HTTP/1.1 103 Early Hints\r\nX-A : evil\r\n\r\n" + okResponse,
}

const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

// TestInvalidResponses is C3 towards the workload: it gets 502 from us and no
// byte of the invalid response, and the connection ends.
func TestInvalidResponses(t *testing.T) {
	w := newWorld(t)
	w.use(policy.Intercept, w.openRoute())
	for name, response := range invalidResponses {
		t.Run(name, func(t *testing.T) {
			w.records.forget()
			o := w.originFor(answer(response), host)
			got := w.say(o, plainGet+plainGet)
			if statusOf(got) != 502 || strings.Contains(got, "evil") || strings.Count(got, "HTTP/1.1 ") != 1 {
				t.Errorf("workload got %q", got)
			}
			if r := w.request(); r.Reason != "upstream_response" || r.Status != 502 {
				t.Errorf("record %+v", r)
			}
		})
	}
}
