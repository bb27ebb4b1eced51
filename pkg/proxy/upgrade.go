package proxy

import (
	"io"
	"net"
	"time"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/http1"
	"github.com/outwarden/outwarden/pkg/wire"
)

// switchProtocols turns the exchange into a tunnel after 101. Only a WebSocket
// that the workload asked for comes this far, and it has to wait for the 101
// before it speaks (RFC 9931): what it sent early could be read as a request
// by an upstream that did not switch.
func (x *exchange) switchProtocols(from *window) *failure {
	if x.req.Upgrade == nil || !http1.NameIs(x.res.Upgrade, "websocket") {
		return refusal(flow.ReasonUpstreamResponse, "101 to what nobody asked for")
	}
	if len(x.in.bytes()) > 0 {
		return refusal(flow.ReasonBadRequest, "bytes sent before the upgrade was agreed")
	}
	x.edit.Reset()
	x.res.Hop(&x.edit)
	x.out = x.res.Append(x.out[:0], &x.edit)
	x.bytesIn += int64(len(from.bytes()))
	end, f := x.tunnelEnd(from.bytes())
	if f != nil {
		return f
	}
	if !x.c.vigil.end() {
		return refusal(flow.ReasonWorkloadClosed, "")
	}
	x.status, x.answered = x.res.Status, true
	if f := x.say(x.out); f != nil {
		return f
	}
	x.tunnel(end)
	return nil
}

// tunnelEnd is where what comes from the upstream is written to. What came early
// leaves with the head.
func (x *exchange) tunnelEnd(early []byte) (net.Conn, *failure) {
	if !x.scrubs() {
		x.out = append(x.out, early...)
		return x.c.client, nil
	}
	frames, f := x.scrubTunnel(early)
	return scrubbedConn{x.c.client, frames}, f
}

// tunnel copies both ways until both sides have ended. A peer that is silent
// for hours is a healthy WebSocket; TCP keep-alive finds the dead.
func (x *exchange) tunnel(end net.Conn) {
	_ = x.c.client.SetDeadline(time.Time{})
	_ = x.to.SetDeadline(time.Time{})
	x.c.tunnels.Store(true)
	defer x.c.tunnels.Store(false)
	sent := make(chan int64, 1)
	go func() {
		n := pour(x.to, x.c.client, x.c.wire, x.up.Wire())
		x.c.vigil.begin()
		sent <- n
	}()
	x.bytesIn += pour(end, x.to, x.up.Wire(), x.c.wire)
	x.bytesOut += <-sent
	x.more, x.reusable = false, false
}

// pour copies until src ends and passes the end on. After an error neither
// direction can go on. from and to are what lies beneath.
func pour(dst, src net.Conn, from, to *wire.Conn) int64 {
	buf := bulk.get()
	defer bulk.put(buf)
	from.Feed(to)
	n, err := io.CopyBuffer(writerOnly{dst}, readerOnly{src}, *buf)
	if failed := from.Starve(); err == nil {
		err = failed
	}
	if half, ok := dst.(interface{ CloseWrite() error }); ok && err == nil {
		_ = half.CloseWrite()
		return n
	}
	_ = dst.SetDeadline(longAgo)
	_ = src.SetDeadline(longAgo)
	return n
}

// writerOnly and readerOnly keep io.Copy to the buffer it was given.
type writerOnly struct{ io.Writer }
type readerOnly struct{ io.Reader }
