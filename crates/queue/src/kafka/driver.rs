//! The errors of the driver, and the header of a message.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// The header with a publish time before 1970, which only tests use: Kafka's own timestamp cannot be negative.
pub(super) const PUBLISHED_AT_HEADER: &str = "published-at-ms";

/// Returns whether a request failed because the topic does not exist.
pub(super) fn is_missing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::UnknownTopicId
        )
    )
}
