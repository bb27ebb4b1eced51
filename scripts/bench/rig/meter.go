package main

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"time"
)

// meter reads all counters.
type meter struct {
	proxy, client, origin, machine time.Duration
	in, up                         int64
	at                             time.Time
}

func (b *bench) read() (m meter, err error) {
	var errs [6]error
	m.proxy, errs[0] = b.proxy.cpu()
	m.client, errs[1] = b.client.cpu()
	m.origin, errs[2] = b.origin.cpu()
	m.in, errs[3] = accepted(hostNS)
	m.up, errs[4] = accepted(originNS)
	m.machine, errs[5] = busy()
	m.at = time.Now()
	return m, errors.Join(errs[:]...)
}

// during measures what the roles use while f runs.
func (b *bench) during(s *sample, f func() error) error {
	before, err := b.read()
	if err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	after, err := b.read()
	if err != nil {
		return err
	}
	if s.Held == 0 {
		s.Held = b.proxy.resident()
	}
	s.Seconds = after.at.Sub(before.at).Seconds()
	proxy, client, origin := after.proxy-before.proxy, after.client-before.client, after.origin-before.origin
	s.Proxy, s.Client, s.Origin = proxy.Microseconds(), client.Microseconds(), origin.Microseconds()
	s.Foreign = max(0, (after.machine - before.machine - proxy - client - origin).Microseconds())
	s.In, s.Up = after.in-before.in, after.up-before.up
	return nil
}

// accepted is how many TCP connections a namespace accepted so far.
func accepted(ns string) (n int64, err error) {
	var stat []byte
	err = inNS(ns, func() (err error) {
		stat, err = os.ReadFile("/proc/thread-self/net/snmp")
		return err
	})
	if err != nil {
		return 0, err
	}
	var rows [][]string
	for line := range strings.Lines(string(stat)) {
		if strings.HasPrefix(line, "Tcp:") {
			rows = append(rows, strings.Fields(line))
		}
	}
	for i, name := range rows[0] {
		if name == "PassiveOpens" {
			return strconv.ParseInt(rows[1][i], 10, 64)
		}
	}
	return 0, errors.New("no PassiveOpens in /proc/net/snmp")
}

// busy is what the whole machine used so far, in ticks of 10 ms.
func busy() (time.Duration, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(stat), "\n")
	var ticks int64
	for i, f := range strings.Fields(line)[1:8] { // user nice system idle iowait irq softirq
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		if i != 3 && i != 4 {
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// lastWords is what the proxy said.
func (b *bench) lastWords() string {
	log, err := os.ReadFile(b.path(b.peer.name() + ".log"))
	if err != nil {
		return ""
	}
	return tail(log)
}
