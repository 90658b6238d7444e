//! The encoding of a message in a queue.

use crate::Message;
use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};

/// The headers of the fields outside the payload.
const KEY: &str = "goconductor-key";
const PUBLISHED_AT: &str = "goconductor-published-at-ms";
/// The delivery mode of a message that survives a restart of the broker.
const PERSISTENT: u8 = 2;

/// Returns the properties of a message.
pub(super) fn properties(message: &Message) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert(KEY.into(), AMQPValue::LongString(message.key.as_str().into()));
    headers.insert(PUBLISHED_AT.into(), AMQPValue::LongLongInt(message.published_at_ms));
    BasicProperties::default().with_delivery_mode(PERSISTENT).with_headers(headers)
}

/// Decodes a message. A message of another publisher has no key. Its publish time is its timestamp, which has a resolution
/// of seconds, or 0 if it has none.
pub(super) fn message(properties: &BasicProperties, payload: Vec<u8>) -> Message {
    let header = |name: &str| properties.headers().as_ref()?.inner().get(name);
    let key = match header(KEY) {
        Some(AMQPValue::LongString(key)) => String::from_utf8_lossy(key.as_bytes()).into_owned(),
        _ => String::new(),
    };
    let timestamp =
        properties.timestamp().and_then(|seconds| i64::try_from(seconds.saturating_mul(1000)).ok());
    let published_at_ms = match header(PUBLISHED_AT) {
        Some(AMQPValue::LongLongInt(at)) => *at,
        _ => timestamp.unwrap_or(0),
    };
    Message { key, payload: Bytes::from(payload), published_at_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_survives_a_round_trip() {
        for (key, published_at_ms) in [("", 0), ("018f-7000", 1_790_000_000_000), ("ключ/🔑\r\n", -1)] {
            let published =
                Message { key: key.to_owned(), payload: Bytes::from_static(b"p"), published_at_ms };
            assert_eq!(message(&properties(&published), b"p".to_vec()), published);
        }
    }

    #[test]
    fn message_of_another_publisher_is_decoded() {
        let foreign = BasicProperties::default().with_timestamp(7);
        let read = message(&foreign, b"?".to_vec());
        assert_eq!(
            read,
            Message { key: String::new(), payload: Bytes::from_static(b"?"), published_at_ms: 7000 }
        );
    }
}
