//! Messages on the wire: the frames of gRPC, and the JSON form of Protobuf.

use goconductor_saga::{Json, parse_json};
use prost_reflect::prost::Message as _;
use prost_reflect::{DynamicMessage, MethodDescriptor, SerializeOptions};

/// The bytes before each message: whether it is compressed, and its length.
const HEAD_BYTES: usize = 5;

/// Why the messages of a response cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MessageError {
    /// A message is larger than the limit.
    #[error("a message of the response has {bytes} bytes; the limit is {limit}")]
    TooLarge { bytes: usize, limit: usize },
    /// A message is compressed, although the request accepts no compression.
    #[error("a message of the response is compressed")]
    Compressed,
}

/// Returns a message with its head.
pub(super) fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEAD_BYTES + message.len());
    bytes.push(0);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(message);
    bytes
}

/// Splits the body of a response into its messages.
#[derive(Debug)]
pub(super) struct MessageReader {
    /// Maximum bytes of a message.
    limit: usize,
    /// The bytes of a message that is not complete yet.
    rest: Vec<u8>,
    messages: Vec<Vec<u8>>,
}

impl MessageReader {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, rest: Vec::new(), messages: Vec::new() }
    }

    /// Adds bytes of the body.
    ///
    /// # Errors
    /// Returns an error as soon as the head of a message shows that it cannot be used.
    pub(super) fn push(&mut self, data: &[u8]) -> Result<(), MessageError> {
        self.rest.extend_from_slice(data);
        while let Some((head, after)) = self.rest.split_first_chunk::<HEAD_BYTES>() {
            let [compressed, a, b, c, d] = *head;
            let bytes = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
            if compressed != 0 {
                return Err(MessageError::Compressed);
            }
            if bytes > self.limit {
                return Err(MessageError::TooLarge { bytes, limit: self.limit });
            }
            let Some((message, left)) = after.split_at_checked(bytes) else { break };
            self.messages.push(message.to_vec());
            self.rest = left.to_vec();
        }
        Ok(())
    }

    /// Returns the bytes that the head of the message in arrival states, within the limit.
    pub(super) fn expected(&self) -> Option<u64> {
        let (&[_, a, b, c, d], _) = self.rest.split_first_chunk::<HEAD_BYTES>()?;
        Some(u64::from(u32::from_be_bytes([a, b, c, d])))
    }

    /// Returns the number of whole messages.
    pub(super) fn count(&self) -> usize {
        self.messages.len()
    }

    /// Returns the whole messages, or `None` if the last one is incomplete.
    pub(super) fn into_messages(self) -> Option<Vec<Vec<u8>>> {
        self.rest.is_empty().then_some(self.messages)
    }
}

/// Encodes the message of a request. Without one, every field has its default.
///
/// # Errors
/// Returns the reason if the value does not have the form of the message.
pub(super) fn encode(method: &MethodDescriptor, message: Option<&Json>) -> Result<Vec<u8>, String> {
    let input = method.input();
    let message = match message {
        None | Some(Json::Null) => DynamicMessage::new(input),
        Some(value) => {
            let name = input.full_name().to_owned();
            DynamicMessage::deserialize(input, value)
                .map_err(|error| format!("the message is not a `{name}`: {error}"))?
        }
    };
    Ok(message.encode_to_vec())
}

/// A text that grows up to a limit. The JSON form of a message has its default fields, so it can have many times the bytes of
/// the message.
#[derive(Debug)]
struct LimitedText {
    text: Vec<u8>,
    limit: usize,
    is_full: bool,
}

impl std::io::Write for LimitedText {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.text.len().saturating_add(bytes.len()) > self.limit {
            self.is_full = true;
            return Err(std::io::Error::other("the text is longer than the limit"));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Decodes the message of a response, whose JSON form must have at most `limit` bytes. The fields have the names of the
/// `.proto` file, and 64-bit integers are numbers.
///
/// # Errors
/// Returns the code and the reason if the bytes are not the message, if its form in JSON is too long, or if it has no exact
/// form in JSON.
pub(super) fn decode(
    method: &MethodDescriptor,
    bytes: &[u8],
    limit: usize,
) -> Result<Json, (&'static str, String)> {
    let output = method.output();
    let name = output.full_name().to_owned();
    let bad = |reason: String| ("BAD_RESPONSE", format!("the response is not a `{name}`: {reason}"));
    let message = DynamicMessage::decode(output, bytes).map_err(|error| bad(error.to_string()))?;
    let options = SerializeOptions::new()
        .stringify_64_bit_integers(false)
        .use_proto_field_name(true)
        .skip_default_fields(false);
    let mut form = LimitedText { text: Vec::new(), limit, is_full: false };
    let written = message.serialize_with_options(&mut serde_json::Serializer::new(&mut form), &options);
    if form.is_full {
        return Err((
            "OUTPUT_TOO_LARGE",
            format!("the output has more than {limit} bytes, which is the limit"),
        ));
    }
    written.map_err(|error| bad(error.to_string()))?;
    parse_json(&form.text).map_err(|error| match error.kind.failure_code() {
        Some(code) => (code, format!("the response cannot be kept: {error}")),
        None => bad(error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::{MessageError, MessageReader, decode, frame};
    use prost_reflect::DescriptorPool;

    #[test]
    fn body_in_any_chunks_is_split_into_messages() {
        let body = [frame(b"one"), frame(b""), frame(b"three")].concat();
        for size in 1..=body.len() {
            let mut reader = MessageReader::new(5);
            for chunk in body.chunks(size) {
                reader.push(chunk).unwrap();
            }
            let expected = [b"one".to_vec(), Vec::new(), b"three".to_vec()];
            assert_eq!(reader.into_messages().unwrap(), expected, "{size}");
        }
    }

    #[test]
    fn json_form_is_limited() {
        let pool = DescriptorPool::decode(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET).unwrap();
        let service = pool.get_service_by_name("grpc.reflection.v1.ServerReflection").unwrap();
        let method = service.methods().next().unwrap();
        // An empty message has its default fields.
        let whole = decode(&method, b"", 1000).unwrap();
        let bytes = whole.to_string().len();
        assert!(bytes > 2, "{whole}");
        assert_eq!(decode(&method, b"", bytes).unwrap(), whole);
        assert_eq!(decode(&method, b"", bytes - 1).unwrap_err().0, "OUTPUT_TOO_LARGE");
    }

    #[test]
    fn message_that_cannot_be_used_ends_the_body() {
        let mut reader = MessageReader::new(4);
        assert_eq!(reader.push(&frame(b"three")), Err(MessageError::TooLarge { bytes: 5, limit: 4 }));
        let mut compressed = frame(b"one");
        compressed[0] = 1;
        assert_eq!(MessageReader::new(4).push(&compressed), Err(MessageError::Compressed));
        let mut cut = MessageReader::new(4);
        cut.push(&frame(b"one")[..6]).unwrap();
        assert_eq!(cut.into_messages(), None);
    }
}
