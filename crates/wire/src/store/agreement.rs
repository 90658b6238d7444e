//! Configuration entries.

use super::{Malformed, parsed, value};
use crate::internal as wire;
use goconductor_saga::Timestamp;
use goconductor_store::Agreement;

impl TryFrom<&Agreement> for wire::Agreed {
    type Error = Malformed;

    fn try_from(agreement: &Agreement) -> Result<Self, Malformed> {
        Ok(Self {
            revision: agreement.revision,
            value_json: value("agreement", &agreement.value)?,
            since: agreement.since.0,
        })
    }
}

impl TryFrom<wire::Agreed> for Agreement {
    type Error = Malformed;

    fn try_from(wire: wire::Agreed) -> Result<Self, Malformed> {
        let value = parsed("agreement", &wire.value_json)?;
        Ok(Self { revision: wire.revision, value, since: Timestamp(wire.since) })
    }
}
