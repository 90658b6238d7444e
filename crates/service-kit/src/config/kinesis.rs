//! How Kinesis is used.

use super::QueueBackend;
use super::reader::Reader;
use super::value::{self, SecretText, SecretUrl};
use std::path::PathBuf;

/// How Kinesis is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kinesis {
    /// The region.
    pub region: String,
    /// Another address than the region's.
    pub endpoint: Option<SecretUrl>,
    /// Whom to trust beside those whom this machine trusts, in PEM form.
    pub ca_file: Option<PathBuf>,
    /// How the capacity of a stream that is made because it is missing is chosen.
    pub capacity: KinesisCapacity,
    /// Shards of such a stream, where it has a fixed number of them.
    pub shards: u32,
    /// Who asks; none: whom AWS' own places name.
    pub credentials: Option<KinesisKeys>,
}

/// How the capacity of a stream is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KinesisCapacity {
    /// A fixed number of shards.
    Provisioned,
    /// As AWS has it.
    OnDemand,
}

/// An access key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KinesisKeys {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: SecretText,
    /// The session's token, with temporary credentials.
    pub token: Option<SecretText>,
}

pub(super) fn kinesis(reader: &mut Reader<'_>, backend: QueueBackend) -> Kinesis {
    const CAPACITIES: &[(&str, KinesisCapacity)] =
        &[("provisioned", KinesisCapacity::Provisioned), ("on_demand", KinesisCapacity::OnDemand)];
    let is_region = |text: &str| {
        let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        (1..=40).contains(&text.len()) && text.chars().all(inside)
    };
    let region = value::text("a region such as eu-central-1", is_region);
    let region = if backend == QueueBackend::Kinesis {
        reader.required("queue.kinesis.region", &region, "queue.backend")
    } else {
        reader.optional("queue.kinesis.region", &region)
    };
    let capacity = value::choice(CAPACITIES, |capacity| match capacity {
        KinesisCapacity::Provisioned => "provisioned".to_owned(),
        KinesisCapacity::OnDemand => "on_demand".to_owned(),
    });
    Kinesis {
        region: region.unwrap_or_default(),
        endpoint: reader.optional("queue.kinesis.endpoint", &value::http_url()),
        ca_file: reader.optional("queue.kinesis.tls.ca_file", &value::path()),
        capacity: reader.get("queue.kinesis.capacity", &capacity, KinesisCapacity::Provisioned),
        shards: reader.get("queue.kinesis.shards", &value::integer(1, 10_000), 4),
        credentials: keys(reader),
    }
}

/// All of an access key, or nothing of it.
fn keys(reader: &mut Reader<'_>) -> Option<KinesisKeys> {
    const ID: &str = "queue.kinesis.credentials.access_key_id";
    const SECRET: &str = "queue.kinesis.credentials.secret_access_key";
    const TOKEN: &str = "queue.kinesis.credentials.session_token";
    let is_id = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric());
    let (id, secret) = (value::text("an access key's id", is_id), value::secret_text());
    let is_said = [ID, SECRET, TOKEN].iter().any(|path| reader.is_said(path));
    if !is_said {
        for path in [SECRET, TOKEN] {
            drop(reader.optional(path, &secret));
        }
        drop(reader.optional(ID, &id));
        return None;
    }
    let because = "queue.kinesis.credentials";
    let token = reader.optional(TOKEN, &secret);
    let id = reader.required(ID, &id, because);
    let secret = reader.required(SECRET, &secret, because);
    Some(KinesisKeys { id: id?, secret: secret?, token })
}
