//! How Kinesis is used.

use crate::{Error, Topic};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What Kinesis takes for a stream's name.
const NAME_BYTES: usize = 128;
/// Of a name that is too long so much is kept; its digest follows.
const NAME_KEPT: usize = 95;

/// How Kinesis is used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The region, such as `eu-central-1`.
    pub region: String,
    /// Another address than the region's: of an endpoint of one's own network, or of an emulator.
    pub endpoint: Option<String>,
    /// Whom to trust beside those whom this machine trusts, in PEM form.
    pub ca_file: Option<PathBuf>,
    /// What the names of streams begin with.
    pub prefix: String,
    /// What a stream that is made because it is missing can carry.
    pub capacity: Capacity,
    /// Who asks.
    pub credentials: Credentials,
    /// Names this process in leases: random at each boot, so that no two are ever taken for one another.
    pub identity: String,
    /// A consumer that is not heard of for this long is replaced.
    pub lease: Duration,
}

/// What a stream that is made can carry. That of one that is there is its owner's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capacity {
    /// So many shards: more consumers of a topic than these have no work, and each takes in 1,000 records
    /// or 1 MiB a second.
    Shards(u32),
    /// As AWS has it grow and shrink.
    OnDemand,
}

/// Who asks.
#[derive(Clone)]
pub enum Credentials {
    /// Whom AWS' own places name, in their order: the environment, profiles, web identity, the container's
    /// role, the instance's. They are renewed by themselves.
    Chain,
    /// These, for as long as the process runs. They are not printed.
    Keys {
        /// The access key's id.
        id: String,
        /// Its secret.
        secret: String,
        /// The session's token, with temporary credentials.
        token: Option<String>,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain => f.write_str("Chain"),
            Self::Keys { id, .. } => f.debug_struct("Keys").field("id", id).finish_non_exhaustive(),
        }
    }
}

impl Settings {
    /// This region, with everything else as it is by default.
    #[must_use]
    pub fn of(region: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            region: region.into(),
            endpoint: None,
            ca_file: None,
            prefix: "goconductor".to_owned(),
            capacity: Capacity::Shards(4),
            credentials: Credentials::Chain,
            identity: identity.into(),
            lease: Duration::from_secs(6),
        }
    }

    /// Whether it can work.
    pub(super) fn check(&self) -> Result<(), Error> {
        let wrong = |reason: &str| Err(Error::Configuration { reason: reason.to_owned() });
        if self.region.is_empty() {
            return wrong("no region is named: queue.kinesis.region");
        }
        if self.capacity == Capacity::Shards(0) {
            return wrong("a stream has at least one shard: queue.kinesis.shards");
        }
        Ok(())
    }

    /// The name of a topic's stream. A namespace is told from a service by what neither has in its name.
    pub(super) fn name_of(&self, topic: &Topic) -> String {
        let mut name = format!("{}.{}", self.prefix, topic.to_string().replace('/', "_"));
        if name.len() > NAME_BYTES {
            let digest = digest(name.as_bytes());
            // Of one byte each: so says the configuration of the prefix, and so are names of services.
            let kept: String = name.chars().take(NAME_KEPT).collect();
            name = format!("{kept}-{digest:032x}");
        }
        name
    }
}

/// FNV-1a: the same in every release, as it is part of names.
pub(super) fn digest(bytes: &[u8]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::of("eu-central-1", "me")
    }

    #[test]
    fn what_can_t_work_is_refused() {
        assert_eq!(settings().check(), Ok(()));
        assert!(Settings { region: String::new(), ..settings() }.check().is_err());
        assert!(Settings { capacity: Capacity::Shards(0), ..settings() }.check().is_err());
        assert_eq!(Settings { capacity: Capacity::OnDemand, ..settings() }.check(), Ok(()));
    }

    #[test]
    fn a_secret_is_not_printed() {
        let keys = Credentials::Keys {
            id: "AKIA1".to_owned(),
            secret: "hunter2".to_owned(),
            token: Some("hunter3".to_owned()),
        };
        let printed = format!("{:?}", Settings { credentials: keys, ..settings() });
        assert!(printed.contains("AKIA1") && !printed.contains("hunter"), "{printed}");
    }

    #[test]
    fn streams_have_names_that_kinesis_takes_and_that_are_told_apart() {
        let settings = settings();
        assert_eq!(settings.name_of(&Topic::execute("payments")), "goconductor.payments");
        assert_eq!(
            settings.name_of(&Topic::compensate("shop/payments")),
            "goconductor.shop_payments.compensate"
        );
        let long = format!("{}/{}", "n".repeat(63), "s".repeat(63));
        let (one, other) =
            (settings.name_of(&Topic::execute(&*long)), settings.name_of(&Topic::compensate(long)));
        assert_eq!((one.len(), other.len()), (128, 128));
        assert_ne!(one, other);
        // FNV's own figure: names have to be the same in every release.
        assert_eq!(digest(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }
}
