//! What stands in a record: the messages of one key that were published together.
//!
//! Of the records of one request some may be taken in and some not, so no request holds two records of one
//! key; and as messages of one key are often published together, a record holds as many as fit. It is taken
//! in whole or not at all, so their order holds. What is no such record is a message all the same, as it
//! stands: whoever reads it says that it is none of ours, and nothing waits behind it.

use crate::Message;
use bytes::Bytes;
use std::collections::BTreeMap;

/// How such a record begins: no text does.
const MAGIC: [u8; 4] = [0xf3, b'G', b'C', 1];
/// Of each message beside its payload: the time of its publishing, and its length.
const MESSAGE_HEAD: usize = 12;
/// What a record holds, its partition key among it.
const RECORD_BYTES: usize = 1024 * 1024;
/// What a request holds.
const REQUEST_RECORDS: usize = 500;
const REQUEST_BYTES: usize = 5 * 1024 * 1024;
/// The characters of a partition key.
const PARTITION_KEY: usize = 256;
/// A message's key and payload together: what a record takes whatever its key is, twice at most in it.
pub(super) const MESSAGE_BYTES: usize = RECORD_BYTES - 4 * PARTITION_KEY - 64;

/// A record to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// What chooses its shard.
    pub(super) partition_key: String,
    /// What stands in it.
    pub(super) data: Vec<u8>,
}

impl Record {
    fn of(key: &str) -> Self {
        let mut data = MAGIC.to_vec();
        data.extend(u32::try_from(key.len()).unwrap_or(u32::MAX).to_be_bytes());
        data.extend(key.as_bytes());
        // One has to be there, and of a longer one a part does as well: the same for the same key.
        let partition_key = match key {
            "" => "-".to_owned(),
            key => key.chars().take(PARTITION_KEY).collect(),
        };
        Self { partition_key, data }
    }

    fn bytes(&self) -> usize {
        self.partition_key.len() + self.data.len()
    }

    fn has_room(&self, message: &Message) -> bool {
        self.bytes() + MESSAGE_HEAD + message.payload.len() <= RECORD_BYTES
    }

    fn add(&mut self, message: &Message) {
        self.data.extend(message.published_at_ms.to_be_bytes());
        self.data.extend(u32::try_from(message.payload.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.data.extend(&message.payload);
    }
}

/// Messages as requests, to be sent one after the other.
pub(super) fn requests(messages: &[Message]) -> Vec<Vec<Record>> {
    let mut of_keys: BTreeMap<&str, usize> = BTreeMap::new();
    let mut lines: Vec<Vec<Record>> = Vec::new();
    for message in messages {
        let line = *of_keys.entry(&message.key).or_insert_with(|| {
            lines.push(Vec::new());
            lines.len() - 1
        });
        let Some(line) = lines.get_mut(line) else { continue };
        if line.last().is_none_or(|last| !last.has_room(message)) {
            line.push(Record::of(&message.key));
        }
        if let Some(last) = line.last_mut() {
            last.add(message);
        }
    }
    let mut requests = Vec::new();
    let mut lines: Vec<_> = lines.into_iter().map(Vec::into_iter).collect();
    loop {
        // One record of each key.
        let round: Vec<Record> = lines.iter_mut().filter_map(Iterator::next).collect();
        if round.is_empty() {
            return requests;
        }
        cut(round, &mut requests);
    }
}

/// A round, cut into requests that are not too large.
fn cut(round: Vec<Record>, requests: &mut Vec<Vec<Record>>) {
    let (mut request, mut bytes) = (Vec::new(), 0);
    for record in round {
        if request.len() == REQUEST_RECORDS || bytes + record.bytes() > REQUEST_BYTES {
            requests.push(std::mem::take(&mut request));
            bytes = 0;
        }
        bytes += record.bytes();
        request.push(record);
    }
    requests.push(request);
}

/// The messages of a record; what is none of ours is one message.
pub(super) fn messages(data: &[u8], partition_key: &str, arrived_ms: i64) -> Vec<Message> {
    read(data).unwrap_or_else(|| {
        let payload = Bytes::copy_from_slice(data);
        vec![Message { key: partition_key.to_owned(), payload, published_at_ms: arrived_ms }]
    })
}

fn read(data: &[u8]) -> Option<Vec<Message>> {
    let mut rest = data.strip_prefix(&MAGIC)?;
    let length = usize::try_from(u32::from_be_bytes(next(&mut rest)?)).ok()?;
    let (key, mut rest) = rest.split_at_checked(length)?;
    let key = std::str::from_utf8(key).ok()?;
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let published_at_ms = i64::from_be_bytes(next(&mut rest)?);
        let length = usize::try_from(u32::from_be_bytes(next(&mut rest)?)).ok()?;
        let (payload, behind) = rest.split_at_checked(length)?;
        let payload = Bytes::copy_from_slice(payload);
        messages.push(Message { key: key.to_owned(), payload, published_at_ms });
        rest = behind;
    }
    (!messages.is_empty()).then_some(messages)
}

fn next<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(key: &str, payload: impl Into<Bytes>) -> Message {
        Message { key: key.to_owned(), payload: payload.into(), published_at_ms: -7 }
    }

    fn all(requests: &[Vec<Record>]) -> Vec<Message> {
        let records = requests.iter().flatten();
        records.flat_map(|record| messages(&record.data, &record.partition_key, 1)).collect()
    }

    #[test]
    fn messages_of_one_key_are_one_record() {
        let sent =
            [message("a", "1"), message("b", "2"), message("a", "3"), message("", ""), message("a", "4")];
        let requests = requests(&sent);
        let keys: Vec<&str> = requests.iter().flatten().map(|record| &*record.partition_key).collect();
        assert_eq!((requests.len(), keys), (1, vec!["a", "b", "-"]));
        let came = all(&requests);
        let payloads: Vec<&[u8]> = came.iter().map(|message| &*message.payload).collect();
        assert_eq!(payloads, [&b"1"[..], b"3", b"4", b"2", b""]);
        assert_eq!(came.last(), Some(&message("", "")));
    }

    #[test]
    fn no_request_has_two_records_of_one_key() {
        let large = vec![0; 400 * 1024];
        let sent: Vec<Message> =
            (0..5).map(|_| message("a", large.clone())).chain([message("b", "x")]).collect();
        let requests = requests(&sent);
        let sizes: Vec<usize> = requests.iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 1, 1]);
        assert_eq!(all(&requests).len(), 6);
    }

    #[test]
    fn requests_keep_to_the_limits() {
        let many: Vec<Message> = (0..1201).map(|number| message(&number.to_string(), "x")).collect();
        let sizes: Vec<usize> = requests(&many).iter().map(Vec::len).collect();
        assert_eq!(sizes, [500, 500, 201]);
        let large: Vec<Message> =
            (0..12).map(|number| message(&number.to_string(), vec![1; 900 * 1024])).collect();
        for request in requests(&large) {
            assert!(request.iter().map(Record::bytes).sum::<usize>() <= REQUEST_BYTES);
        }
        let largest = message(&"ж".repeat(300), vec![2; MESSAGE_BYTES - 600]);
        let requests = requests(std::slice::from_ref(&largest));
        assert!(requests.iter().flatten().all(|record| record.bytes() <= RECORD_BYTES));
        assert_eq!(all(&requests), [largest]);
    }

    #[test]
    fn what_is_none_of_ours_is_a_message_as_it_stands() {
        let whole = requests(&[message("key", "payload")]).remove(0).remove(0).data;
        for data in [&b"{}"[..], b"", &MAGIC, &whole[..whole.len() - 1], &[&whole[..], b"!"].concat()] {
            let came = messages(data, "k", 5);
            let payload = Bytes::copy_from_slice(data);
            assert_eq!(came, [Message { key: "k".to_owned(), payload, published_at_ms: 5 }]);
        }
    }
}
