//! The section `secrets`: the source of the master key, which wraps the data keys of secrets.

use super::master_key_source::MasterKeySource;
use super::reader::SettingReader;
use super::reference;
use super::value;
use goconductor_saga::{NameKind, Namespace};
use std::time::Duration;

const MASTER_KEY: &str = "secrets.master_key";
const COMMAND: &str = "secrets.command";

/// Secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretsConfig {
    /// The source of the master key. `None` if the process cannot open secrets.
    pub master_key: Option<MasterKeySource>,
    /// Timeout of a command that prints the key.
    pub command_timeout: Duration,
    /// The namespace of the secrets that the configuration refers to.
    pub namespace: String,
}

pub(super) fn read(reader: &mut SettingReader<'_>) -> SecretsConfig {
    let source = reader.optional(MASTER_KEY, &value::key_source());
    let command_kind =
        value::list("a command with its arguments such as [kms-decrypt, master-key]", |_| true);
    let command = reader.get(COMMAND, &command_kind, Vec::new());
    let longest = Duration::from_secs(300);
    let timeout = value::duration(Duration::from_millis(100), longest);
    let command_timeout = reader.get("secrets.command_timeout", &timeout, Duration::from_secs(10));
    let namespace = value::text("the name of a namespace", |name| NameKind::Namespace.check(name).is_ok());
    let namespace = reader.get("secrets.namespace", &namespace, Namespace::DEFAULT.to_owned());
    if source.is_some() && !command.is_empty() {
        let message = "must not be set together with secrets.master_key: a process has one source of keys";
        reader.problem(COMMAND, reader.origin(COMMAND), message);
    }
    let base = reference::base(&reader.origin(MASTER_KEY));
    let master_key = match source {
        Some(MasterKeySource::File(path)) => Some(MasterKeySource::File(base.join(path))),
        None if !command.is_empty() => Some(MasterKeySource::Command(command)),
        source => source,
    };
    SecretsConfig { master_key, command_timeout, namespace }
}
