package h2

import (
	"errors"
	"strconv"

	"golang.org/x/net/http2"
)

var (
	// ErrBusy is returned by Open when the peer allows no further stream now.
	ErrBusy = errors.New("the peer allows no further stream")
	// ErrLeaving is returned by Open, and is the end of streams that the peer
	// has not processed, when the connection is being shut: the request may be
	// sent on another connection.
	ErrLeaving = errors.New("the connection takes no new streams")
	// ErrStream is returned by what is called on a stream that has ended.
	ErrStream = errors.New("the stream has ended")
	// ErrIdle ends a connection that had no stream for Options.Idle.
	ErrIdle = errors.New("the connection was idle")
	// ErrStalled ends a connection, or a stream, whose peer took nothing or
	// left something half sent for Options.Stall.
	ErrStalled = errors.New("the peer stalled")
)

// ConnError is an error of the whole connection (RFC 9113 section 5.4.1).
type ConnError struct {
	Code   http2.ErrCode
	Remote bool // the peer sent it in GOAWAY
	Detail string
}

func (e *ConnError) Error() string { return describe("connection", e.Code, e.Remote, e.Detail) }

// StreamError is an error of one stream (RFC 9113 section 5.4.2).
type StreamError struct {
	Code   http2.ErrCode
	Remote bool // the peer sent it in RST_STREAM
	Detail string
}

func (e *StreamError) Error() string { return describe("stream", e.Code, e.Remote, e.Detail) }

// RequestError says why a request was not handed to a Handler.
type RequestError struct {
	Status int // to answer with; 0: malformed (RFC 9113 section 8.1.1), the stream is reset
	Detail string
}

func (e *RequestError) Error() string { return e.Detail }

func describe(what string, code http2.ErrCode, remote bool, detail string) string {
	s := what + " error " + strconv.Itoa(int(code)) + " (" + code.String() + ")"
	if remote {
		s += " from the peer"
	}
	if detail != "" {
		s += ": " + detail
	}
	return s
}

func protocol(detail string) error { return &ConnError{Code: http2.ErrCodeProtocol, Detail: detail} }

func calm(detail string) error {
	return &ConnError{Code: http2.ErrCodeEnhanceYourCalm, Detail: detail}
}

var errLargeWindow = &ConnError{Code: http2.ErrCodeFlowControl, Detail: "a window of more than 2^31-1"}

func frameSize(detail string) error {
	return &ConnError{Code: http2.ErrCodeFrameSize, Detail: detail}
}

// Unprocessed reports whether err, of Open or of a Closed event, says that the
// peer has not acted on the request, so that it may be sent once more
// (RFC 9113 section 8.7).
func Unprocessed(err error) bool {
	var s *StreamError
	if errors.As(err, &s) {
		return s.Remote && s.Code == http2.ErrCodeRefusedStream
	}
	return errors.Is(err, ErrLeaving) || errors.Is(err, ErrBusy)
}
