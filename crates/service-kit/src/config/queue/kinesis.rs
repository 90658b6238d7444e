//! The section `queue.kinesis`.

use super::super::reader::SettingReader;
use super::super::secret_url::SecretUrl;
use super::super::value;
use goconductor_queue::settings::kinesis::{AwsCredentials, Settings, StreamCapacity};

/// Capacity mode of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Provisioned,
    OnDemand,
}

const MODES: &[(&str, Mode)] = &[("provisioned", Mode::Provisioned), ("on_demand", Mode::OnDemand)];

pub(super) fn read(reader: &mut SettingReader<'_>, prefix: &str, is_used: bool) -> Option<Settings> {
    let is_region = |text: &str| {
        let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        (1..=40).contains(&text.len()) && text.chars().all(is_allowed)
    };
    let region = value::text("a region such as eu-central-1", is_region);
    let region = reader.required_if(is_used, "queue.kinesis.region", &region, "queue.backend");
    let endpoint = reader
        .optional("queue.kinesis.endpoint", &value::endpoint_url("http://127.0.0.1:4566"))
        .map(SecretUrl::into_secret);
    let ca_file = reader.optional("queue.kinesis.tls.ca_file", &value::path());
    let mode = reader.get("queue.kinesis.capacity", &value::choice(MODES), Mode::Provisioned);
    let shards = reader.get("queue.kinesis.shards", &value::integer(1, 10_000), 4);
    let capacity = match mode {
        Mode::Provisioned => StreamCapacity::Shards(shards),
        Mode::OnDemand => StreamCapacity::OnDemand,
    };
    let (credentials, prefix) = (credentials(reader), prefix.to_owned());
    Some(Settings { endpoint, ca_file, prefix, capacity, credentials, ..Settings::new(region?) })
}

/// Reads a complete access key, or none.
fn credentials(reader: &mut SettingReader<'_>) -> AwsCredentials {
    const ID: &str = "queue.kinesis.credentials.access_key_id";
    const SECRET: &str = "queue.kinesis.credentials.secret_access_key";
    const TOKEN: &str = "queue.kinesis.credentials.session_token";
    let is_id = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric());
    let is_set = [ID, SECRET, TOKEN].iter().any(|path| reader.is_set(path));
    let because = "queue.kinesis.credentials";
    let token = reader.optional(TOKEN, &value::secret());
    let id = reader.required_if(is_set, ID, &value::text("an access key ID", is_id), because);
    let secret = reader.required_if(is_set, SECRET, &value::secret(), because);
    match (id, secret) {
        (Some(id), Some(secret)) => AwsCredentials::Keys { id, secret, token },
        (None, _) | (_, None) => AwsCredentials::Chain,
    }
}
