//! How often and how soon one side of a step is tried again.

use crate::WorkflowId;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// How the delay grows from one try to the next.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// `initial`, then each delay `factor` times the one before.
    Exponential {
        /// At least 1.
        factor: f64,
    },
    /// `initial`, twice `initial`, three times `initial`, …
    Linear,
    /// `initial` each time.
    Fixed,
}

/// When a retryable or unknown end of an attempt is tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// All attempts together, the first among them; none: without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// The delay before the second attempt.
    #[serde(with = "crate::millis", rename = "initial_ms")]
    pub initial: Duration,
    /// How the delay grows.
    pub backoff: Backoff,
    /// No delay is longer.
    #[serde(with = "crate::millis", rename = "max_ms")]
    pub max: Duration,
    /// A delay is changed by up to this part of itself either way; 0 to 1.
    pub jitter: f64,
    /// If not empty, only failures with these codes are tried again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<String>,
    /// Failures with these codes are not tried again.
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
    /// What a compensation has unless its definition says otherwise: it does not give up.
    #[must_use]
    pub fn of_compensation() -> Self {
        Self { max_attempts: None, max: Duration::from_secs(60), ..Self::default() }
    }

    /// Whether one more attempt may follow the `used` ones after a failure with this code.
    #[must_use]
    pub fn allows(&self, used: u32, code: &str) -> bool {
        let listed = |codes: &[String]| codes.iter().any(|each| each == code);
        self.max_attempts.is_none_or(|max| used < max)
            && (self.on.is_empty() || listed(&self.on))
            && !listed(&self.not_on)
    }

    /// The delay after the `used`-th attempt. The same for the same arguments: the jitter is drawn
    /// from the ids, so that a decision that is computed again comes out the same.
    #[must_use]
    pub fn delay(&self, used: u32, workflow: WorkflowId, salt: u64) -> Duration {
        let initial = self.initial.as_secs_f64();
        let max = self.max.as_secs_f64();
        let mut seconds = initial;
        match self.backoff {
            Backoff::Fixed => {}
            Backoff::Linear => seconds = initial * f64::from(used.max(1)),
            Backoff::Exponential { factor } => {
                // The bound only saves work: a larger delay is cut to `max` anyway.
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

/// A number in 0..1 that depends on nothing but the arguments (SplitMix64, Steele et al. 2014).
fn unit(workflow: WorkflowId, used: u32, salt: u64) -> f64 {
    let (high, low) = workflow.0.as_u64_pair();
    let mut z = high ^ low.rotate_left(32) ^ (u64::from(used) << 32) ^ salt;
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    // The upper 32 bits: a `u32` is exact as an `f64`.
    f64::from(u32::try_from(z >> 32).unwrap_or(0)) / 4_294_967_296.0
}
