package main

import (
	"context"
	"time"
)

// calmed is the share of the machine's time, as a fraction of one core, that
// others may use when a sample begins.
const calmed = 0.15

// calm waits in the same way before a sample, which the short form does not.
func (b *bench) calm(ctx context.Context) error {
	if b.plan.short {
		return nil
	}
	return b.plan.calm(ctx)
}

// calm waits until the machine is nearly idle, but no longer than the plan's
// patience.
func (p *plan) calm(ctx context.Context) error {
	const look = 250 * time.Millisecond
	deadline := time.Now().Add(p.patience)
	for time.Now().Before(deadline) && ctx.Err() == nil {
		before, err := busy()
		if err != nil {
			return err
		}
		<-time.After(look)
		after, err := busy()
		if err != nil {
			return err
		}
		if float64(after-before) < calmed*float64(look) {
			return nil
		}
	}
	return ctx.Err()
}
