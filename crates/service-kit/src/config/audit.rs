//! The section `audit`: the audit log of the gateway.

use super::reader::SettingReader;
use super::value;

/// Settings of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditConfig {
    /// Whether requests of applications are recorded too: starts of workflows, signals and locks. Requests of operators and
    /// refused requests always are.
    pub starts: bool,
}

pub(super) fn read(reader: &mut SettingReader<'_>) -> AuditConfig {
    AuditConfig { starts: reader.get("audit.starts", &value::boolean(), false) }
}
