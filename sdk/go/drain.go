package goconductor

import "time"

// drainGrace is how long tasks are accepted after the drain of either side, if the executor is of a release that does not
// acknowledge drains. Such tasks were sent before the drain was received.
const drainGrace = 200 * time.Millisecond

// drainProgress tells whether tasks can still arrive on a stream. A task that arrives after the worker has closed the stream
// has an unknown outcome, so that the worker closes it only when no task is on the way.
type drainProgress struct {
	// acknowledges tells that the executor acknowledges the drain of the worker, and sends no task after its own.
	acknowledges bool
	begun        bool
	// endsAt is the time from which no task arrives. It is zero if the time is not known.
	endsAt time.Time
}

// workerDrains records that the worker has sent its drain.
func (p *drainProgress) workerDrains(now time.Time) {
	p.begun = true
	if !p.acknowledges && p.endsAt.IsZero() {
		p.endsAt = now.Add(drainGrace)
	}
}

// executorDrains records the drain of the executor.
func (p *drainProgress) executorDrains(now time.Time) {
	p.begun = true
	if !p.endsAt.IsZero() {
		return
	}
	p.endsAt = now
	if !p.acknowledges {
		p.endsAt = now.Add(drainGrace)
	}
}

// acknowledged records that the executor has acknowledged the drain of the worker.
func (p *drainProgress) acknowledged(now time.Time) {
	if p.begun {
		p.endsAt = now
	}
}

// complete tells whether no task arrives any more.
func (p *drainProgress) complete(now time.Time) bool {
	return !p.endsAt.IsZero() && !now.Before(p.endsAt)
}

// left returns how long tasks can still arrive. It returns false if the time is not known.
func (p *drainProgress) left(now time.Time) (time.Duration, bool) {
	return p.endsAt.Sub(now), !p.endsAt.IsZero()
}
