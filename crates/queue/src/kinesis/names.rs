//! Checks of the settings, and the names of streams.

use crate::settings::kinesis::{Settings, StreamCapacity};
use crate::{Error, Topic};

/// Maximum length of a stream name in Kinesis.
const NAME_BYTES: usize = 128;
/// Length to which a longer name is cut before its digest is appended.
const CUT_NAME_BYTES: usize = 95;

impl Settings {
    /// Checks that the settings can work.
    pub(super) fn check(&self) -> Result<(), Error> {
        let invalid = |reason: &str| Err(Error::configuration(reason));
        if self.region.is_empty() {
            return invalid("queue.kinesis.region is empty: set a region such as eu-central-1");
        }
        if self.capacity == StreamCapacity::Shards(0) {
            return invalid("queue.kinesis.shards is 0: a stream has at least one shard");
        }
        Ok(())
    }

    /// Returns the name of a topic's stream. The underscore between namespace and service is unambiguous, because
    /// neither name contains one.
    pub(super) fn name_of(&self, topic: &Topic) -> String {
        let mut name = format!("{}.{}", self.prefix, topic.to_string().replace('/', "_"));
        if name.len() > NAME_BYTES {
            let digest = digest(name.as_bytes());
            // Invariant: every character is one byte, because the configuration and the rules for service names
            // allow only ASCII.
            let cut: String = name.chars().take(CUT_NAME_BYTES).collect();
            name = format!("{cut}-{digest:032x}");
        }
        name
    }
}

/// Returns the FNV-1a hash. The algorithm must never change, because hashes are part of stream names.
pub(super) fn digest(bytes: &[u8]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::new("eu-central-1")
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        assert_eq!(settings().check(), Ok(()));
        assert!(Settings { region: String::new(), ..settings() }.check().is_err());
        assert!(Settings { capacity: StreamCapacity::Shards(0), ..settings() }.check().is_err());
        assert_eq!(Settings { capacity: StreamCapacity::OnDemand, ..settings() }.check(), Ok(()));
    }

    #[test]
    fn long_stream_names_are_cut_and_stay_distinct() {
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
        // The test vector of FNV itself.
        assert_eq!(digest(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }
}
