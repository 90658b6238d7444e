//! The encoding of a record: messages with the same key that were published together.
//!
//! Kinesis may store some records of a request and refuse others, so a request never contains two records with the same
//! key. Messages with the same key are often published together, so a record contains as many of them as fit. A record
//! is stored as a whole or not at all, which preserves their order. Data that is not such a record is decoded as a
//! single message. The executor detects it as a poison message, so that it does not block the messages behind it.

use crate::Message;
use bytes::Bytes;
use std::collections::BTreeMap;

/// The first bytes of a record. No UTF-8 text begins with them.
const MAGIC: [u8; 4] = [0xf3, b'G', b'C', 1];
/// The bytes of a message in addition to its payload: the publish time and the length of the payload.
const MESSAGE_HEAD: usize = 12;
/// The maximum size of a record, including its partition key.
const RECORD_BYTES: usize = 1024 * 1024;
/// The maximum number of records in a request, and its maximum size.
const REQUEST_RECORDS: usize = 500;
const REQUEST_BYTES: usize = 5 * 1024 * 1024;
/// The maximum number of characters of a partition key.
const PARTITION_KEY: usize = 256;
/// The maximum size of the key and the payload of a message: the size of a record minus the largest partition key and
/// the headers.
pub(super) const MESSAGE_BYTES: usize = RECORD_BYTES - 4 * PARTITION_KEY - 64;

/// An encoded record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// The key that selects the shard.
    pub(super) partition_key: String,
    pub(super) data: Vec<u8>,
}

impl Record {
    fn new(key: &str) -> Self {
        let mut data = MAGIC.to_vec();
        data.extend(u32::try_from(key.len()).unwrap_or(u32::MAX).to_be_bytes());
        data.extend(key.as_bytes());
        // A partition key must not be empty. Truncation of a long key is deterministic, so its messages stay in one
        // shard.
        let partition_key = match key {
            "" => "-".to_owned(),
            key => key.chars().take(PARTITION_KEY).collect(),
        };
        Self { partition_key, data }
    }

    fn size(&self) -> usize {
        self.partition_key.len() + self.data.len()
    }

    fn fits(&self, message: &Message) -> bool {
        self.size() + MESSAGE_HEAD + message.payload.len() <= RECORD_BYTES
    }

    fn add(&mut self, message: &Message) {
        self.data.extend(message.published_at_ms.to_be_bytes());
        self.data.extend(u32::try_from(message.payload.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.data.extend(&message.payload);
    }
}

/// Encodes messages as requests, which have to be sent one after the other.
pub(super) fn requests(messages: &[Message]) -> Vec<Vec<Record>> {
    let mut index_by_key: BTreeMap<&str, usize> = BTreeMap::new();
    let mut by_key: Vec<Vec<Record>> = Vec::new();
    for message in messages {
        let index = *index_by_key.entry(&message.key).or_insert_with(|| {
            by_key.push(Vec::new());
            by_key.len() - 1
        });
        let Some(records) = by_key.get_mut(index) else { continue };
        if records.last().is_none_or(|last| !last.fits(message)) {
            records.push(Record::new(&message.key));
        }
        if let Some(last) = records.last_mut() {
            last.add(message);
        }
    }
    let mut requests = Vec::new();
    let mut by_key: Vec<_> = by_key.into_iter().map(Vec::into_iter).collect();
    loop {
        // One record of each key.
        let round: Vec<Record> = by_key.iter_mut().filter_map(Iterator::next).collect();
        if round.is_empty() {
            return requests;
        }
        split(round, &mut requests);
    }
}

/// Splits records into requests within the limits.
fn split(round: Vec<Record>, requests: &mut Vec<Vec<Record>>) {
    let (mut request, mut bytes) = (Vec::new(), 0);
    for record in round {
        if request.len() == REQUEST_RECORDS || bytes + record.size() > REQUEST_BYTES {
            requests.push(std::mem::take(&mut request));
            bytes = 0;
        }
        bytes += record.size();
        request.push(record);
    }
    requests.push(request);
}

/// Decodes the messages of a record. Data of another publisher is a single message.
pub(super) fn messages(data: &[u8], partition_key: &str, arrived_ms: i64) -> Vec<Message> {
    decode(data).unwrap_or_else(|| {
        let payload = Bytes::copy_from_slice(data);
        vec![Message { key: partition_key.to_owned(), payload, published_at_ms: arrived_ms }]
    })
}

fn decode(data: &[u8]) -> Option<Vec<Message>> {
    let mut rest = data.strip_prefix(&MAGIC)?;
    let length = usize::try_from(u32::from_be_bytes(next(&mut rest)?)).ok()?;
    let (key, mut rest) = rest.split_at_checked(length)?;
    let key = std::str::from_utf8(key).ok()?;
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let published_at_ms = i64::from_be_bytes(next(&mut rest)?);
        let length = usize::try_from(u32::from_be_bytes(next(&mut rest)?)).ok()?;
        let (payload, after) = rest.split_at_checked(length)?;
        let payload = Bytes::copy_from_slice(payload);
        messages.push(Message { key: key.to_owned(), payload, published_at_ms });
        rest = after;
    }
    (!messages.is_empty()).then_some(messages)
}

fn next<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(key: &str, payload: impl Into<Bytes>) -> Message {
        Message { key: key.to_owned(), payload: payload.into(), published_at_ms: -7 }
    }

    fn decode_all(requests: &[Vec<Record>]) -> Vec<Message> {
        let records = requests.iter().flatten();
        records.flat_map(|record| messages(&record.data, &record.partition_key, 1)).collect()
    }

    #[test]
    fn messages_with_the_same_key_share_a_record() {
        let sent =
            [message("a", "1"), message("b", "2"), message("a", "3"), message("", ""), message("a", "4")];
        let requests = requests(&sent);
        let keys: Vec<&str> = requests.iter().flatten().map(|record| &*record.partition_key).collect();
        assert_eq!((requests.len(), keys), (1, vec!["a", "b", "-"]));
        let decoded = decode_all(&requests);
        let payloads: Vec<&[u8]> = decoded.iter().map(|message| &*message.payload).collect();
        assert_eq!(payloads, [&b"1"[..], b"3", b"4", b"2", b""]);
        assert_eq!(decoded.last(), Some(&message("", "")));
    }

    #[test]
    fn request_never_contains_two_records_with_the_same_key() {
        let large = vec![0; 400 * 1024];
        let sent: Vec<Message> =
            (0..5).map(|_| message("a", large.clone())).chain([message("b", "x")]).collect();
        let requests = requests(&sent);
        let sizes: Vec<usize> = requests.iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 1, 1]);
        assert_eq!(decode_all(&requests).len(), 6);
    }

    #[test]
    fn requests_and_records_stay_within_the_limits() {
        let many: Vec<Message> = (0..1201).map(|number| message(&number.to_string(), "x")).collect();
        let sizes: Vec<usize> = requests(&many).iter().map(Vec::len).collect();
        assert_eq!(sizes, [500, 500, 201]);
        let large: Vec<Message> =
            (0..12).map(|number| message(&number.to_string(), vec![1; 900 * 1024])).collect();
        for request in requests(&large) {
            assert!(request.iter().map(Record::size).sum::<usize>() <= REQUEST_BYTES);
        }
        let largest = message(&"ж".repeat(300), vec![2; MESSAGE_BYTES - 600]);
        let requests = requests(std::slice::from_ref(&largest));
        assert!(requests.iter().flatten().all(|record| record.size() <= RECORD_BYTES));
        assert_eq!(decode_all(&requests), [largest]);
    }

    #[test]
    fn data_of_another_publisher_is_a_single_message() {
        let whole = requests(&[message("key", "payload")]).remove(0).remove(0).data;
        for data in [&b"{}"[..], b"", &MAGIC, &whole[..whole.len() - 1], &[&whole[..], b"!"].concat()] {
            let decoded = messages(data, "k", 5);
            let payload = Bytes::copy_from_slice(data);
            assert_eq!(decoded, [Message { key: "k".to_owned(), payload, published_at_ms: 5 }]);
        }
    }
}
