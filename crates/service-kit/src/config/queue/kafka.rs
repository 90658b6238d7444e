//! Settings of Kafka, which are directly below `queue`.

use super::super::reader::SettingReader;
use super::super::{tls, value};
use goconductor_queue::settings::Tls;
use goconductor_queue::settings::kafka::{Mechanism, Sasl, Settings};

/// Protection of the connections to Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Security {
    Plaintext,
    Tls,
    SaslPlaintext,
    SaslTls,
}

const SECURITIES: &[(&str, Security)] = &[
    ("plaintext", Security::Plaintext),
    ("tls", Security::Tls),
    ("sasl_plaintext", Security::SaslPlaintext),
    ("sasl_tls", Security::SaslTls),
];

const MECHANISMS: &[(&str, Mechanism)] = &[
    ("plain", Mechanism::Plain),
    ("scram_sha_256", Mechanism::ScramSha256),
    ("scram_sha_512", Mechanism::ScramSha512),
];

pub(super) fn read(reader: &mut SettingReader<'_>, prefix: &str, is_used: bool) -> Option<Settings> {
    let brokers =
        reader.required_if(is_used, "queue.brokers", &value::hosts("127.0.0.1:9092"), "queue.backend");
    let security = reader.get("queue.security", &value::choice(SECURITIES), Security::Plaintext);
    let partitions = reader.get("queue.partitions", &value::integer(1, 10_000), 8);
    let replication = reader.optional("queue.replication", &value::integer(1, 100));
    let tls::Files { ca_file, certificate_file, key_file } = tls::files(reader, "queue.tls");
    let uses_tls = matches!(security, Security::Tls | Security::SaslTls);
    let tls = uses_tls.then_some(Tls { ca_file, certificate_file, key_file });
    let sasl = sasl(reader, matches!(security, Security::SaslPlaintext | Security::SaslTls));
    let prefix = prefix.to_owned();
    Some(Settings { brokers: brokers?, prefix, partitions, replication, tls, sasl })
}

fn sasl(reader: &mut SettingReader<'_>, is_used: bool) -> Option<Sasl> {
    let mechanism = reader.get("queue.sasl.mechanism", &value::choice(MECHANISMS), Mechanism::ScramSha512);
    let user = reader.required_if(is_used, "queue.sasl.user", &value::user_name(), "queue.security");
    let password = reader.required_if(is_used, "queue.sasl.password", &value::secret(), "queue.security");
    is_used.then_some(Sasl { mechanism, user: user?, password: password? })
}
