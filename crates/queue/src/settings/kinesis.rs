//! Settings of the Kinesis adapter.

use secrecy::SecretString;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of the Kinesis adapter.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The AWS region, such as `eu-central-1`.
    pub region: String,
    /// A URL to use instead of the endpoint of the region, such as a VPC endpoint or an emulator. It is a secret
    /// because a URL may contain a password.
    pub endpoint: Option<SecretString>,
    /// Certificate authorities to trust in addition to those that this machine trusts, in PEM form.
    pub ca_file: Option<PathBuf>,
    /// Prefix of stream names.
    pub prefix: String,
    /// Capacity of a stream that the adapter creates.
    pub capacity: StreamCapacity,
    /// AWS credentials.
    pub credentials: AwsCredentials,
    /// Time after which the lease of a consumer expires unless the consumer renews it.
    pub lease: Duration,
}

/// Capacity of a stream that the adapter creates. The capacity of an existing stream is never changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamCapacity {
    /// Provisioned mode with this number of shards. A topic cannot keep more consumers busy than it has shards, and
    /// each shard accepts 1,000 records or 1 MiB per second.
    Shards(u32),
    /// On-demand mode: AWS scales the stream.
    OnDemand,
}

/// AWS credentials.
#[derive(Debug, Clone)]
pub enum AwsCredentials {
    /// The default provider chain of AWS, in its order: environment, profiles, web identity, container role,
    /// instance role. The provider renews temporary credentials.
    Chain,
    /// A fixed access key. It is never renewed.
    Keys {
        /// The access key ID.
        id: String,
        /// The secret access key.
        secret: SecretString,
        /// The session token of temporary credentials.
        token: Option<SecretString>,
    },
}

impl Settings {
    /// Creates settings for this region, with defaults for everything else.
    #[must_use]
    pub fn new(region: impl Into<String>) -> Self {
        Self {
            region: region.into(),
            endpoint: None,
            ca_file: None,
            prefix: "goconductor".to_owned(),
            capacity: StreamCapacity::Shards(4),
            credentials: AwsCredentials::Chain,
            lease: Duration::from_secs(6),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let credentials = AwsCredentials::Keys {
            id: "AKIA1".to_owned(),
            secret: "hunter2".into(),
            token: Some("hunter3".into()),
        };
        let printed = format!("{:?}", Settings { credentials, ..Settings::new("eu-central-1") });
        assert!(printed.contains("AKIA1") && !printed.contains("hunter"), "{printed}");
    }
}
