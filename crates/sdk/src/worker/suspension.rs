//! Detection of a suspended process.

use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// The interval at which the detector compares clocks.
const INTERVAL: Duration = Duration::from_millis(100);
/// The shortest time without progress that counts as a suspension.
const MIN_LENGTH: Duration = Duration::from_millis(300);
/// How long after a suspension a message may be one that arrived during it.
const BACKLOG: Duration = Duration::from_secs(1);

/// Notices that the process was suspended, such as by SIGSTOP or by the freeze of a virtual machine. A task that waited in
/// the socket meanwhile seems to have arrived later than it did, so its deadline would be too late.
#[derive(Debug)]
pub(super) struct SuspensionDetector {
    progress: Mutex<ClockProgress>,
}

#[derive(Debug)]
struct ClockProgress {
    last_tick: Instant,
    /// The length and the end of the last suspension.
    suspension: Option<(Duration, Instant)>,
}

impl SuspensionDetector {
    pub(super) fn new() -> Self {
        Self { progress: Mutex::new(ClockProgress { last_tick: Instant::now(), suspension: None }) }
    }

    /// Compares clocks until it is dropped.
    pub(super) async fn run(&self) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            self.tick(Instant::now());
        }
    }

    fn tick(&self, now: Instant) {
        let mut progress = self.progress.lock();
        let gap = now.saturating_duration_since(progress.last_tick);
        if gap >= MIN_LENGTH {
            progress.suspension = Some((gap, now));
        }
        progress.last_tick = now;
    }

    /// Returns how long ago a message that is received now may have arrived.
    pub(super) fn delay(&self, now: Instant) -> Duration {
        let progress = self.progress.lock();
        let gap = now.saturating_duration_since(progress.last_tick);
        if gap >= MIN_LENGTH {
            return gap;
        }
        let Some((length, ended_at)) = progress.suspension else { return Duration::ZERO };
        let since = now.saturating_duration_since(ended_at);
        if since < BACKLOG { length + since } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_after_a_suspension_may_have_arrived_at_its_beginning() {
        let detector = SuspensionDetector::new();
        let start = detector.progress.lock().last_tick;
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        detector.tick(at(100));
        assert_eq!(detector.delay(at(200)), Duration::ZERO, "the process makes progress");
        // The message is handled before the detector's own timer, and after it.
        assert_eq!(detector.delay(at(2100)), Duration::from_secs(2));
        detector.tick(at(2100));
        assert_eq!(detector.delay(at(2150)), Duration::from_millis(2050));
        for tick in 22..=31 {
            detector.tick(at(tick * 100));
        }
        assert_eq!(detector.delay(at(3150)), Duration::ZERO, "the backlog is read");
    }
}
