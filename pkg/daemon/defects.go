package daemon

import (
	"context"
	"errors"
	"sync"
	"time"
)

// defects are told once a second each, and counted meanwhile: workloads may bring about
// as many as they like. While the trail takes nothing each request has two, and who
// connects where he may not, and leaves before he was looked at, is one more.
type defects struct {
	mu   sync.Mutex
	told map[string]*defect // by text
}

type defect struct {
	at   time.Time // when it was told last
	more int       // since
}

const (
	defectEvery = time.Second
	mostDefects = 64 // that are remembered
)

// due reports whether a defect is to be told now, and how often it came untold.
func (d *defects) due(text string, now time.Time) (more int, due bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	seen := d.told[text]
	if seen != nil && now.Sub(seen.at) < defectEvery {
		seen.more++
		return 0, false
	}
	if seen != nil {
		more = seen.more
	}
	if d.told == nil || len(d.told) >= mostDefects {
		d.told = map[string]*defect{}
	}
	d.told[text] = &defect{at: now}
	return more, true
}

// report tells of a defect, if err is one.
func (d *Daemon) report(what string, err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	more, due := d.defects.due(what+": "+err.Error(), time.Now())
	if !due {
		return
	}
	log := d.o.Log.WithError(err)
	if more > 0 {
		log = log.WithField("untold", more)
	}
	log.Error(what)
}

// defect tells of one of a flow.
func (d *Daemon) defect(err error) { d.report("proxy", err) }
