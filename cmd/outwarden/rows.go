package main

import (
	"fmt"
	"net"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/process"
)

// rowStyle says how much of a record a row shows.
type rowStyle struct {
	wide    bool
	process bool // a column for it; a trail has it above
	date    bool // records of several days
	path    int  // runes of method and path; 0: all
}

// row is a record in columns: when, who, where to, what, how it went, what was
// decided, by which route, with which credentials, how long, and why not.
func (s rowStyle) row(r *audit.Record) []cell {
	row := []cell{{text: s.when(r.Time), colour: dim}}
	if r.Kind == audit.KindLoss {
		return append(row, cell{text: "! " + lossText(r), colour: red, free: true})
	}
	if s.process {
		row = append(row, cell{text: who(r), colour: cyan})
	}
	row = append(row,
		cell{text: arrow(r) + " " + destination(r), colour: bold},
		cell{text: cut(what(r), s.path)},
		statusCell(r),
		decisionCell(r),
		cell{text: audit.Printable(r.Route)},
		cell{text: usedCredentials(r), colour: green},
		cell{text: duration(r.DurationMS), colour: dim, right: true},
		reasonCell(r),
	)
	if s.wide {
		row = append(row, wideCells(r)...)
	}
	return row
}

func (s rowStyle) when(t time.Time) string {
	if s.date {
		return t.Local().Format("2006-01-02 15:04:05.000")
	}
	return t.Local().Format("15:04:05.000")
}

// who is the process or the guest behind a record.
func who(r *audit.Record) string {
	if r.Guest != "" {
		return "guest " + audit.Printable(r.Guest)
	}
	return caller(r.Process)
}

func caller(p *process.Identity) string {
	if p == nil {
		return "?"
	}
	return fmt.Sprintf("%s(%d)", exeName(p), p.PID)
}

func exeName(p *process.Identity) string {
	for _, exe := range []string{p.Exe, p.ExeInside} {
		if exe != "" {
			return audit.Printable(path.Base(exe))
		}
	}
	return "?"
}

// arrow shows at a glance how far it went.
func arrow(r *audit.Record) string {
	switch {
	case refused(r):
		return "✗"
	case r.Decision == "passthrough":
		return "⇢"
	}
	return "→"
}

// refused reports whether something did not get through as the workload meant it.
func refused(r *audit.Record) bool {
	return r.Decision == "deny" || r.Reason != "" && r.Status == 0 && !passed(r)
}

// passed reports whether a connection was passed on and its reason only tells
// why nothing more was done with it.
func passed(r *audit.Record) bool {
	if r.Decision != "passthrough" {
		return false
	}
	switch r.Reason {
	case flow.ReasonNoRoute.String(), flow.ReasonIdentityMismatch.String(), flow.ReasonRequestMismatch.String(),
		flow.ReasonNoServerName.String(), flow.ReasonEncryptedHello.String(), flow.ReasonNotHTTP.String(),
		flow.ReasonPortNotCaptured.String(), flow.ReasonListenerGone.String(), flow.ReasonListenerForeign.String(),
		flow.ReasonMapFull.String():
		return true
	}
	return false
}

func destination(r *audit.Record) string {
	host := r.Host
	if host == "" {
		host = r.SNI
	}
	if r.Original == nil {
		return audit.Printable(host)
	}
	if host == "" {
		return audit.Printable(endpoint(r.Original.IP, r.Original.Port))
	}
	if r.Original.Port != 443 && r.Original.Port != 0 {
		host = endpoint(host, r.Original.Port)
	}
	return audit.Printable(host)
}

func endpoint(ip string, port uint16) string {
	if port == 0 {
		return ip
	}
	return net.JoinHostPort(ip, strconv.Itoa(int(port)))
}

func what(r *audit.Record) string {
	switch {
	case r.Method != "" || r.Path != "":
		return audit.Printable(strings.TrimSpace(r.Method + " " + r.Path))
	case r.BytesIn+r.BytesOut > 0:
		return "↑" + size(r.BytesOut) + " ↓" + size(r.BytesIn)
	case r.Kind != audit.KindConnection:
		return r.Kind
	}
	return ""
}

func cut(s string, n int) string {
	if n <= 0 || utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

func statusCell(r *audit.Record) cell {
	if r.Status == 0 {
		return cell{}
	}
	colour := green
	switch {
	case r.Status >= 400:
		colour = red
	case r.Status >= 300:
		colour = yellow
	}
	return cell{text: strconv.Itoa(r.Status), colour: colour}
}

func decisionCell(r *audit.Record) cell {
	colour := ""
	switch r.Decision {
	case "deny":
		colour = red
	case "passthrough":
		colour = dim
	}
	return cell{text: audit.Printable(r.Decision), colour: colour}
}

func reasonCell(r *audit.Record) cell {
	colour := yellow
	if refused(r) {
		colour = red
	}
	return cell{text: audit.Printable(r.Reason), colour: colour}
}

func usedCredentials(r *audit.Record) string {
	var names []string
	for _, c := range r.Credentials {
		names = append(names, "+"+audit.Printable(c.Name))
	}
	return strings.Join(names, " ")
}

func lossText(r *audit.Record) string {
	if r.Lost == 0 {
		return "the trail is damaged: " + audit.Printable(r.Reason)
	}
	return fmt.Sprintf("%s lost: %s", count(int(min(r.Lost, 1<<62)), "record"), audit.Printable(r.Reason))
}

// wideCells are what compact leaves out.
func wideCells(r *audit.Record) []cell {
	var user, unit, original, up string
	if p := r.Process; p != nil {
		user, unit = userName(p), p.Unit
	}
	if r.Original != nil {
		original = endpoint(r.Original.IP, r.Original.Port)
	}
	if u := r.Upstream; u != nil {
		up = strings.TrimSpace(endpoint(u.IP, u.Port) + " " + protocols(u))
	}
	if r.EgressIP != "" {
		up += " from " + r.EgressIP
	}
	bytes := ""
	if r.BytesIn+r.BytesOut > 0 {
		bytes = "↑" + size(r.BytesOut) + " ↓" + size(r.BytesIn)
	}
	row := []cell{{text: r.Flow, colour: dim}, {text: user}, {text: unit}, {text: original}, {text: up}, {text: bytes}, {text: "#" + strconv.FormatUint(r.Seq, 10), colour: dim}}
	for i := range row {
		row[i].text = audit.Printable(row[i].text)
	}
	return row
}

func userName(p *process.Identity) string {
	if p.User != "" {
		return p.User
	}
	return strconv.FormatUint(uint64(p.UID), 10)
}

func protocols(u *audit.Upstream) string {
	if u.TLS == "" {
		return u.ALPN
	}
	return strings.TrimSpace("TLS " + u.TLS + " " + u.ALPN)
}

// duration prints milliseconds in three figures.
func duration(ms float64) string {
	switch {
	case ms == 0:
		return ""
	case ms < 0.01:
		return "<0.01ms"
	case ms < 1:
		return strconv.FormatFloat(ms, 'f', 2, 64) + "ms"
	case ms < 1000:
		return strconv.FormatFloat(ms, 'g', 3, 64) + "ms"
	}
	return time.Duration(ms * float64(time.Millisecond)).Round(10 * time.Millisecond).String()
}

// size prints bytes in three figures, in powers of 1000.
func size(n int64) string {
	if n < 1000 {
		return strconv.FormatInt(n, 10) + "B"
	}
	f, unit := float64(n), 0
	for f >= 999.5 && unit < 4 {
		f /= 1000
		unit++
	}
	return strconv.FormatFloat(f, 'g', 3, 64) + [...]string{"", "kB", "MB", "GB", "TB"}[unit]
}
