//! Progress of a measurement.

/// A receiver of progress reports.
pub trait ProgressListener {
    /// Starts a part of the measurement with a number of steps. The number is 0 if it is unknown.
    fn begin(&self, title: &str, steps: u64);
    /// Reports that further steps have completed.
    fn advance(&self, steps: u64);
}
