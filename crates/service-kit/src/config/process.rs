//! The section `process`: the process itself, apart from its service.

use super::reader::SettingReader;
use super::value;

/// Settings of the process itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessConfig {
    /// Whether the operating system may write the memory of the process to a file, and debuggers of the same user may read
    /// it. `None` forbids it, except for an executor inside a microservice without a master key.
    pub core_dumps: Option<bool>,
}

pub(super) fn read(reader: &mut SettingReader<'_>) -> ProcessConfig {
    ProcessConfig { core_dumps: reader.optional("process.core_dumps", &value::boolean()) }
}
