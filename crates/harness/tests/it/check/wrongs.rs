//! The kinds of errors in a run. Each is made in a correct run and violates one guarantee.

mod claims;
mod effects;
mod order;

use super::draft::Draft;
use super::noise::Noise;

/// A kind of error.
#[derive(Clone, Copy)]
pub(crate) struct Wrong {
    pub(crate) guarantee: &'static str,
    pub(crate) name: &'static str,
    /// Makes the error. Returns `None` if the run offers no opportunity.
    pub(crate) make: fn(&mut Draft, &mut Noise) -> Option<()>,
}

pub(crate) fn all() -> Vec<Wrong> {
    [claims::WRONGS, order::WRONGS, effects::WRONGS].concat()
}

const fn wrong(
    guarantee: &'static str,
    name: &'static str,
    make: fn(&mut Draft, &mut Noise) -> Option<()>,
) -> Wrong {
    Wrong { guarantee, name, make }
}
