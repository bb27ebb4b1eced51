package proxy

import (
	"time"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/policy"
)

// decideOn is decide, and raises the alarm where the head holds a placeholder that
// has no business there: it is given to workloads of one route, so whoever sends
// it elsewhere tries to take that route's credential along.
func (q *request) decideOn(m message) *failure {
	f := q.decide(m)
	if q.c.snap.Placeholders == nil {
		return f
	}
	if g := q.suspect(m); g != nil {
		return g
	}
	return f
}

// suspect looks for a misused placeholder. A route that does not enforce only
// reports it.
func (q *request) suspect(m inject.Message) *failure {
	var plan *inject.Plan
	if q.decision.Route >= 0 { // also where the route only observes
		plan = q.c.snap.Plans[q.decision.Route].Inject
	}
	name, misused := q.c.snap.Placeholders.Misused(m, plan)
	if !misused {
		return nil
	}
	q.alert(name)
	if q.decision.Route >= 0 && q.decision.Mode != policy.Enforce {
		return nil
	}
	return refusal(flow.ReasonPlaceholderMisused, "the placeholder of secret "+name+" does not belong on this request")
}

// alert writes a record for a person to look at. It names the credential that was
// asked for and did not go out.
func (q *request) alert(name string) {
	e := entries.Get().(*entry)
	defer e.release()
	e.Kind = audit.KindAlert
	q.describe(e, time.Now())
	e.Reason = flow.ReasonPlaceholderMisused.String()
	asked := *q
	asked.applied.Credentials, asked.said = []inject.Use{{Name: name, Form: inject.Placeholder.String()}}, nil
	asked.share(e)
	if err := q.c.p.o.Records.Append(&e.Record); err != nil {
		q.c.p.o.OnDefect(err)
	}
}
