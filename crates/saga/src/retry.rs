//! The retry policy of one side of a step.

use crate::WorkflowId;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// The earlier names of failure codes, each with the present one. Policies that name them remain valid.
const EARLIER_CODES: [(&str, &str); 2] =
    [("BAD_ANSWER", "BAD_RESPONSE"), ("UNREADABLE_ANSWER", "BAD_RESPONSE")];

/// The growth of the delay from one attempt to the next.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// `initial`, then `factor` times the previous delay.
    Exponential {
        /// The growth factor, at least 1.
        factor: f64,
    },
    /// `initial`, twice `initial`, three times `initial`, …
    Linear,
    /// Always `initial`.
    Fixed,
}

/// The policy for attempts after one that failed with a retryable or unknown outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// The maximum number of attempts, including the first, or `None` for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// The delay before the second attempt.
    #[serde(with = "crate::millis", rename = "initial_ms")]
    pub initial: Duration,
    /// The growth of the delay.
    pub backoff: Backoff,
    /// The maximum delay.
    #[serde(with = "crate::millis", rename = "max_ms")]
    pub max: Duration,
    /// The fraction, from 0 to 1, by which a delay may be longer or shorter.
    pub jitter: f64,
    /// The failure codes that are retried, or all if the list is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<String>,
    /// The failure codes that are not retried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_on: Vec<String>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_attempts: Some(10),
            initial: Duration::from_millis(200),
            backoff: Backoff::Exponential { factor: 2.0 },
            max: Duration::from_secs(30),
            jitter: 0.2,
            on: Vec::new(),
            not_on: Vec::new(),
        }
    }
}

impl Retry {
    /// Returns the default policy of a compensation: no limit on attempts, and delays of at most one minute.
    #[must_use]
    pub fn of_compensation() -> Self {
        Self { max_attempts: None, max: Duration::from_secs(60), ..Self::default() }
    }

    /// Returns whether another attempt may follow `used` attempts, after a failure with this code.
    #[must_use]
    pub fn allows(&self, used: u32, code: &str) -> bool {
        let names = |each: &str| each == code || EARLIER_CODES.contains(&(each, code));
        let listed = |codes: &[String]| codes.iter().any(|each| names(each));
        self.max_attempts.is_none_or(|max| used < max)
            && (self.on.is_empty() || listed(&self.on))
            && !listed(&self.not_on)
    }

    /// Returns the delay after the `used`-th attempt.
    ///
    /// The result depends only on the arguments, including the jitter. A decision that is recomputed is therefore
    /// the same.
    #[must_use]
    pub fn delay(&self, used: u32, workflow: WorkflowId, salt: u64) -> Duration {
        let initial = self.initial.as_secs_f64();
        let max = self.max.as_secs_f64();
        let mut seconds = initial;
        match self.backoff {
            Backoff::Fixed => {}
            Backoff::Linear => seconds = initial * f64::from(used.max(1)),
            Backoff::Exponential { factor } => {
                // The bound only limits the work, because a longer delay is cut to `max` anyway.
                for _ in 1..used.min(512) {
                    seconds *= factor;
                    if seconds >= max {
                        break;
                    }
                }
            }
        }
        let seconds = seconds.min(max);
        let jittered = seconds * (1.0 + self.jitter * (2.0 * unit(workflow, used, salt) - 1.0));
        Duration::try_from_secs_f64(jittered.min(max).max(0.0)).unwrap_or(self.max)
    }
}

/// Returns a number in 0..1 that depends only on the arguments (SplitMix64, Steele et al. 2014).
fn unit(workflow: WorkflowId, used: u32, salt: u64) -> f64 {
    let (high, low) = workflow.0.as_u64_pair();
    let mut z = high ^ low.rotate_left(32) ^ (u64::from(used) << 32) ^ salt;
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    // Uses the upper 32 bits, because an `f64` represents every `u32` exactly.
    f64::from(u32::try_from(z >> 32).unwrap_or(0)) / 4_294_967_296.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::borrow::ToOwned;
    use alloc::vec;

    #[test]
    fn policy_with_an_earlier_code_applies_to_the_present_one() {
        for (earlier, present) in EARLIER_CODES {
            let only = Retry { on: vec![earlier.to_owned()], ..Retry::default() };
            assert!(
                only.allows(1, present) && only.allows(1, earlier) && !only.allows(1, "TIMED_OUT"),
                "{earlier}"
            );
            let never = Retry { not_on: vec![earlier.to_owned()], ..Retry::default() };
            assert!(!never.allows(1, present) && never.allows(1, "TIMED_OUT"), "{earlier}");
        }
    }
}
