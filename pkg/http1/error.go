package http1

// Error says why a message was refused. Every Error is a constant of this
// package: it holds no byte of the message, and returning it allocates nothing.
type Error struct {
	// Status is the answer that the workload should get: 400, 417, 431, 501 or
	// 505 for a request, 502 for a response.
	Status int
	// Detail is a short phrase from a fixed set, fit for a record or a metric.
	Detail string
}

// Error returns the detail.
func (e *Error) Error() string { return "http1: " + e.Detail }

// Sentinels that callers may compare with.
var (
	// ErrHeadTooLarge: no end of the head within MaxHead bytes, or more than
	// MaxFields fields.
	ErrHeadTooLarge = &Error{431, "head too large"}
	// ErrTruncated: the connection ended before the body did (RFC 9112 section 8).
	ErrTruncated = &Error{400, "body cut short"}
)

// The start line (RFC 9112 sections 3 and 4).
var (
	errMethod      = &Error{400, "malformed method"}
	errTarget      = &Error{400, "malformed request target"}
	errPercent     = &Error{400, "malformed percent-encoding in request target"}
	errScheme      = &Error{400, "request target has no scheme that is http or https"}
	errUserinfo    = &Error{400, "userinfo in request target"}
	errAsterisk    = &Error{400, "asterisk target without OPTIONS"}
	errConnect     = &Error{400, "CONNECT target is not host:port"}
	errConnectBody = &Error{400, "CONNECT with content"}
	errVersion     = &Error{400, "malformed version"}
	errUnsupported = &Error{505, "unsupported version"}
	errStatusLine  = &Error{502, "malformed status line"}
)

// Lines and fields (RFC 9112 sections 2.2 and 5).
var (
	errBareCR     = &Error{400, "bare CR"}
	errBareLF     = &Error{400, "bare LF"}
	errFold       = &Error{400, "line begins with whitespace"}
	errColonSpace = &Error{400, "whitespace before colon"}
	errName       = &Error{400, "malformed field name"}
	errValue      = &Error{400, "control byte in field value"}
)

// Framing (RFC 9112 section 6).
var (
	errTwoLengths     = &Error{400, "two Content-Length fields"}
	errLength         = &Error{400, "malformed Content-Length"}
	errTwoEncodings   = &Error{400, "two Transfer-Encoding fields"}
	errEncoding       = &Error{400, "malformed Transfer-Encoding"}
	errUnknownCoding  = &Error{501, "unknown transfer coding"}
	errBothFramings   = &Error{400, "Content-Length and Transfer-Encoding"}
	errEncodingHTTP10 = &Error{400, "Transfer-Encoding in HTTP/1.0"}
	errNoContent      = &Error{502, "framing field in a response without content"}
)

// Host, Connection, Expect, Upgrade (RFC 9110 sections 7.2, 7.6.1, 10.1.1, 7.8).
var (
	errNoHost       = &Error{400, "no Host"}
	errTwoHosts     = &Error{400, "two Host fields"}
	errHost         = &Error{400, "malformed Host"}
	errHostMismatch = &Error{400, "request target and Host differ"}
	errConnection   = &Error{400, "malformed Connection"}
	errConnectionOf = &Error{400, "Connection names a field that frames or routes"}
	errManyOptions  = &Error{400, "too many Connection options"}
	errExpect       = &Error{417, "unknown expectation"}
	errTwoUpgrades  = &Error{400, "two Upgrade fields"}
)

// Chunks and trailers (RFC 9112 section 7.1).
var (
	errChunkSize      = &Error{400, "malformed chunk size"}
	errChunkLarge     = &Error{400, "chunk size too large"}
	errChunkExt       = &Error{400, "malformed chunk extension"}
	errChunkExtLarge  = &Error{400, "chunk extensions too large"}
	errChunkLine      = &Error{400, "chunk line does not end in CRLF"}
	errChunkEnd       = &Error{400, "chunk data does not end in CRLF"}
	errTrailer        = &Error{400, "malformed trailer"}
	errTrailerField   = &Error{400, "forbidden trailer field"}
	errTrailersLarge  = &Error{431, "trailers too large"}
	errUpstreamHead   = &Error{502, "response head too large"}
	errUpstreamFrame  = &Error{502, "malformed response framing"}
	errUpstreamField  = &Error{502, "malformed response field"}
	errUpstreamOption = &Error{502, "malformed response Connection"}
)
