package goconductor

import (
	"sync"
	"time"
)

const (
	// stallInterval is the interval at which the detector compares clocks.
	stallInterval = 100 * time.Millisecond
	// minStall is the shortest time without progress that counts as a stall.
	minStall = 300 * time.Millisecond
	// stallBacklog is how long after a stall a message may be one that arrived during the stall.
	stallBacklog = time.Second
)

// stallDetector notices that the process was suspended, such as by SIGSTOP or by the freeze of a virtual machine. A task
// that waited in the socket meanwhile seems to have arrived later than it did, so the deadline by the monotonic clock
// would be too late.
type stallDetector struct {
	mutex    sync.Mutex
	lastTick time.Time
	// length is the length of the last stall, and ended its end.
	length time.Duration
	ended  time.Time
}

func newStallDetector() *stallDetector { return &stallDetector{lastTick: time.Now()} }

func (d *stallDetector) run(done <-chan struct{}) {
	ticker := time.NewTicker(stallInterval)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			d.tick(time.Now())
		}
	}
}

func (d *stallDetector) tick(now time.Time) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if gap := now.Sub(d.lastTick); gap >= minStall {
		d.length, d.ended = gap, now
	}
	d.lastTick = now
}

// delay returns how long ago a message that is received now may have arrived.
func (d *stallDetector) delay(now time.Time) time.Duration {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if gap := now.Sub(d.lastTick); gap >= minStall {
		return gap
	}
	if d.length > 0 && now.Sub(d.ended) < stallBacklog {
		return d.length + now.Sub(d.ended)
	}
	return 0
}
