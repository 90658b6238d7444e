//! What can be wrong with a run: each made out of a right one, by name, with the guarantee that it breaks.

mod claims;
mod effects;
mod order;

use super::draft::Draft;
use super::noise::Noise;

/// One way to be wrong.
#[derive(Clone, Copy)]
pub(crate) struct Wrong {
    pub(crate) guarantee: &'static str,
    pub(crate) name: &'static str,
    /// None: there is nothing in this run that could be wrong in this way.
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
