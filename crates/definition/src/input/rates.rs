//! Amounts of work of a validation.

/// The work that a schema causes on each value, in checks. A check takes about 25 ns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct WorkRates {
    /// Checks of the value itself.
    pub(super) checks: u64,
    /// Checks for every 64 bytes of the value's text.
    pub(super) text: u64,
    /// Checks for every value below the value.
    pub(super) below: u64,
    /// Nested calls of the validator.
    pub(super) frames: u64,
}

impl WorkRates {
    /// One check.
    pub(super) const ONE: Self = Self { checks: 1, text: 0, below: 0, frames: 1 };

    pub(super) fn add_checks(&mut self, checks: usize) {
        self.checks = self.checks.saturating_add(u64::try_from(checks).unwrap_or(u64::MAX));
    }

    /// Adds work that happens `times` after the present work. The calls of both are not nested.
    pub(super) fn add(&mut self, more: Self, times: u64) {
        self.checks = self.checks.saturating_add(more.checks.saturating_mul(times));
        self.text = self.text.saturating_add(more.text.saturating_mul(times));
        self.below = self.below.saturating_add(more.below.saturating_mul(times));
        self.frames = self.frames.max(more.frames);
    }

    /// Raises each amount to that of the other.
    pub(super) fn raise_to(&mut self, other: Self) {
        self.checks = self.checks.max(other.checks);
        self.text = self.text.max(other.text);
        self.below = self.below.max(other.below);
        self.frames = self.frames.max(other.frames);
    }
}
