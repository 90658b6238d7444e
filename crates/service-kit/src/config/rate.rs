//! The limits of the rate of requests.

use super::reader::SettingReader;
use super::value;

/// The most requests per second, and the most of them at once.
const MAX_REQUESTS: u32 = 1_000_000;

/// Limits of the rate of requests of a gateway. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateConfig {
    /// The requests of each caller, over all namespaces.
    pub caller: Option<RatePolicy>,
    /// The requests of each namespace, of all callers.
    pub namespace: Option<RatePolicy>,
}

/// The limit of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RatePolicy {
    /// Requests per second in the long run, at least 1.
    pub per_second: u32,
    /// Requests at once after a pause, at least 1.
    pub burst: u32,
}

pub(super) fn read(reader: &mut SettingReader<'_>) -> RateConfig {
    RateConfig { caller: policy(reader, "caller"), namespace: policy(reader, "namespace") }
}

/// Reads a limit. A rate of 0 means no limit.
fn policy(reader: &mut SettingReader<'_>, name: &str) -> Option<RatePolicy> {
    let path = format!("limits.rate.{name}.per_second");
    let per_second = reader.get(&path, &value::integer(0, MAX_REQUESTS), 0);
    let path = format!("limits.rate.{name}.burst");
    let burst = reader.optional(&path, &value::integer(1, MAX_REQUESTS)).unwrap_or(per_second);
    (per_second > 0).then_some(RatePolicy { per_second, burst })
}
