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
	// stallHeldBack is how long after a stall a message may be one that the flow control of the stream held back meanwhile.
	stallHeldBack = 100 * time.Millisecond
)

// stallDetector notices that the process was suspended, such as by SIGSTOP or by the freeze of a virtual machine. A task
// that waited in the socket meanwhile seems to have arrived later than it did, so that the deadline by the monotonic clock
// would be too late. A task that was sent after the stall keeps all of its time.
//
// The SDKs of all languages have the same rule, and their tests the same cases.
type stallDetector struct {
	mutex    sync.Mutex
	lastTick time.Time
	// began and ended are the beginning and the end of the last stall.
	began, ended time.Time
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
	if now.Sub(d.lastTick) >= minStall {
		d.began, d.ended = d.lastTick, now
	}
	d.lastTick = now
}

// delay returns how long ago a message that is received now may have arrived.
func (d *stallDetector) delay(now time.Time) time.Duration {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	since := d.lastTick
	// A message that is received later was sent after the stall, unless another one has begun.
	if !d.ended.IsZero() && now.Sub(d.ended) < stallHeldBack {
		since = d.began
	}
	if age := now.Sub(since); age >= minStall {
		return age
	}
	return 0
}
