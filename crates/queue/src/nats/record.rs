//! The encoding of a message in a stream.

use crate::Message;
use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use bytes::Bytes;

/// The headers of the fields outside the payload.
const KEY: &str = "Goconductor-Key";
const PUBLISHED_AT: &str = "Goconductor-Published-At-Ms";

/// Returns the headers of a message. The servers detect duplicates by `id`.
pub(super) fn headers(message: &Message, id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, id);
    headers.insert(KEY, escape(&message.key));
    headers.insert(PUBLISHED_AT, message.published_at_ms.to_string());
    headers
}

/// Decodes a message. A message of another publisher has no key, and its publish time is the time at which it was
/// stored.
pub(super) fn message(headers: Option<&HeaderMap>, payload: Bytes, stored_at_ms: i64) -> Message {
    let text = |name: &str| Some(headers?.get(name)?.as_str());
    Message {
        key: text(KEY).map(unescape).unwrap_or_default(),
        payload,
        published_at_ms: published_at_ms(headers).unwrap_or(stored_at_ms),
    }
}

/// Returns the publish time in the headers, if they have one.
pub(super) fn published_at_ms(headers: Option<&HeaderMap>) -> Option<i64> {
    headers?.get(PUBLISHED_AT)?.as_str().parse().ok()
}

/// Percent-encodes all bytes that are not allowed in a header.
fn escape(key: &str) -> String {
    let mut text = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let digits = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (digits, after.get(2..)) {
            (Some(byte), Some(left)) => {
                bytes.push(byte);
                rest = left;
            }
            _ => {
                bytes.push(b'%');
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_survives_a_round_trip() {
        for key in ["", "018f-7000", "ключ/🔑", "100%", "%41", " a\r\nb\t", "%"] {
            let message =
                Message { key: key.to_owned(), payload: Bytes::from_static(b"p"), published_at_ms: -1 };
            let headers = headers(&message, "id");
            assert!(headers.get(KEY).unwrap().as_str().chars().all(|c| c.is_ascii_graphic()), "{key:?}");
            assert_eq!(super::message(Some(&headers), message.payload.clone(), 7), message);
        }
    }

    #[test]
    fn message_of_another_publisher_is_decoded() {
        let read = message(None, Bytes::from_static(b"?"), 7);
        assert_eq!(
            read,
            Message { key: String::new(), payload: Bytes::from_static(b"?"), published_at_ms: 7 }
        );
        assert_eq!(unescape("50%-%4"), "50%-%4");
    }
}
