//! A message as it stands in a queue.

use crate::Message;
use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};

/// The headers of what the payload does not hold.
const KEY: &str = "goconductor-key";
const PUBLISHED: &str = "goconductor-published-at-ms";
/// It is to outlive the broker.
const PERSISTENT: u8 = 2;

/// What a message is published with.
pub(super) fn properties(message: &Message) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert(KEY.into(), AMQPValue::LongString(message.key.as_str().into()));
    headers.insert(PUBLISHED.into(), AMQPValue::LongLongInt(message.published_at_ms));
    BasicProperties::default().with_delivery_mode(PERSISTENT).with_headers(headers)
}

/// The message of what came. One that somebody else has published has no key, and was published when it says so, in
/// seconds, or long ago.
pub(super) fn message(properties: &BasicProperties, payload: Vec<u8>) -> Message {
    let header = |name: &str| properties.headers().as_ref()?.inner().get(name);
    let key = match header(KEY) {
        Some(AMQPValue::LongString(key)) => String::from_utf8_lossy(key.as_bytes()).into_owned(),
        _ => String::new(),
    };
    let stamp = properties.timestamp().and_then(|seconds| i64::try_from(seconds.saturating_mul(1000)).ok());
    let published_at_ms = match header(PUBLISHED) {
        Some(AMQPValue::LongLongInt(at)) => *at,
        _ => stamp.unwrap_or(0),
    };
    Message { key, payload: Bytes::from(payload), published_at_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_comes_back() {
        for (key, published_at_ms) in [("", 0), ("018f-7000", 1_790_000_000_000), ("ключ/🔑\r\n", -1)] {
            let published =
                Message { key: key.to_owned(), payload: Bytes::from_static(b"p"), published_at_ms };
            assert_eq!(message(&properties(&published), b"p".to_vec()), published);
        }
    }

    #[test]
    fn what_others_have_published_is_a_message_too() {
        let strange = BasicProperties::default().with_timestamp(7);
        let read = message(&strange, b"?".to_vec());
        assert_eq!(
            read,
            Message { key: String::new(), payload: Bytes::from_static(b"?"), published_at_ms: 7000 }
        );
    }
}
