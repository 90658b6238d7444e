//! Configuration entries.

use super::{Malformed, parsed, value};
use crate::internal as wire;
use goconductor_saga::Timestamp;
use goconductor_store::ConfigEntry;

impl TryFrom<&ConfigEntry> for wire::Agreed {
    type Error = Malformed;

    fn try_from(entry: &ConfigEntry) -> Result<Self, Malformed> {
        Ok(Self {
            revision: entry.revision,
            value_json: value("configuration entry", &entry.value)?,
            since: entry.since.0,
        })
    }
}

impl TryFrom<wire::Agreed> for ConfigEntry {
    type Error = Malformed;

    fn try_from(wire: wire::Agreed) -> Result<Self, Malformed> {
        let value = parsed("configuration entry", &wire.value_json)?;
        Ok(Self { revision: wire.revision, value, since: Timestamp(wire.since) })
    }
}
