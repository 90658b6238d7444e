//! Detection of a suspended process.

use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// The interval at which the detector compares clocks.
const INTERVAL: Duration = Duration::from_millis(100);
/// The shortest time without progress that counts as a suspension.
const MIN_LENGTH: Duration = Duration::from_millis(300);
/// How long after a suspension a message may be one that the flow control of the stream held back meanwhile.
const HELD_BACK: Duration = Duration::from_millis(100);

/// Notices that the process was suspended, such as by SIGSTOP or by the freeze of a virtual machine. A task that waited in
/// the socket meanwhile seems to have arrived later than it did, so that its deadline would be too late. A task that was
/// sent after the suspension keeps all of its time.
///
/// The SDKs of all languages have the same rule, and their tests the same cases.
#[derive(Debug)]
pub(super) struct SuspensionDetector {
    progress: Mutex<ClockProgress>,
}

#[derive(Debug)]
struct ClockProgress {
    last_tick: Instant,
    /// The beginning and the end of the last suspension.
    suspension: Option<(Instant, Instant)>,
}

impl SuspensionDetector {
    pub(super) fn new() -> Self {
        Self::starting_at(Instant::now())
    }

    fn starting_at(start: Instant) -> Self {
        Self { progress: Mutex::new(ClockProgress { last_tick: start, suspension: None }) }
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
        if now.saturating_duration_since(progress.last_tick) >= MIN_LENGTH {
            progress.suspension = Some((progress.last_tick, now));
        }
        progress.last_tick = now;
    }

    /// Returns how long ago a message that is received now may have arrived.
    pub(super) fn delay(&self, now: Instant) -> Duration {
        let progress = self.progress.lock();
        // A message that is received later was sent after the suspension, unless another one has begun.
        let held_back =
            progress.suspension.filter(|(_, ended_at)| now.saturating_duration_since(*ended_at) < HELD_BACK);
        let since = held_back.map_or(progress.last_tick, |(began_at, _)| began_at);
        let age = now.saturating_duration_since(since);
        if age >= MIN_LENGTH { age } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ticks of a detector that starts at 0, the time at which a message is received, and how long ago it may have
    /// arrived, in milliseconds. The tests of all SDKs have these cases.
    const CASES: &[(&str, &[u64], u64, u64)] = &[
        ("progress", &[100], 199, 0),
        ("a delay that is no stall", &[100], 399, 0),
        ("the shortest stall", &[100], 400, 300),
        ("a message before the tick that ends the stall", &[100], 2100, 2000),
        ("a message that waited, after that tick", &[100, 2100], 2110, 2010),
        ("the last message that was held back", &[100, 2100], 2199, 2099),
        ("a task that was sent after the stall", &[100, 2100], 2200, 0),
        ("a second tick soon after the stall", &[100, 2100, 2105], 2150, 2050),
        ("a task that was sent long after the stall", &[100, 2100, 2200, 2300, 2400], 2450, 0),
        ("a second stall soon after the first", &[100, 2100, 2500], 2550, 450),
        ("a second stall that goes on", &[100, 2100, 2200], 2600, 400),
        ("a message that was received before the stall", &[100, 2100], 50, 0),
    ];

    #[test]
    fn task_loses_the_stall_during_which_it_waited() {
        for (name, ticks, received_at, expected) in CASES {
            let start = Instant::now();
            let detector = SuspensionDetector::starting_at(start);
            let at = |milliseconds: u64| start + Duration::from_millis(milliseconds);
            ticks.iter().for_each(|tick| detector.tick(at(*tick)));
            assert_eq!(detector.delay(at(*received_at)), Duration::from_millis(*expected), "{name}");
        }
    }
}
