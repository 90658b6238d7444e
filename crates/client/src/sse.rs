//! Server-sent events, as far as the API uses them (WHATWG HTML, "Server-sent events").

/// One message of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// Its `data` lines, joined.
    pub(crate) data: String,
}

/// No message of the API is longer; a stream that never ends one is none of ours.
const MAX_PENDING: usize = 64 * 1024 * 1024;

/// Takes a stream apart, whatever the pieces it arrives in.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    pending: Vec<u8>,
    message: Message,
    has_data: bool,
}

/// The stream holds a message that is longer than any of the API's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Parser {
    /// The messages that `bytes` complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Message>, TooLong> {
        self.pending.extend_from_slice(bytes);
        let mut messages = Vec::new();
        while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            messages.extend(self.line(line.trim_end_matches(['\n', '\r'])));
        }
        if self.pending.len().saturating_add(self.message.data.len()) > MAX_PENDING {
            return Err(TooLong);
        }
        Ok(messages)
    }

    fn line(&mut self, line: &str) -> Option<Message> {
        if line.is_empty() {
            let message = std::mem::take(&mut self.message);
            return std::mem::take(&mut self.has_data).then_some(message);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        // A line that begins with a colon is a comment: the server's sign of life. An `id` is not kept,
        // as the event in the data carries its own number.
        if field == "data" {
            if self.has_data {
                self.message.data.push('\n');
            }
            self.message.data.push_str(value.strip_prefix(' ').unwrap_or(value));
            self.has_data = true;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(text: &str, piece: usize) -> Vec<String> {
        let mut parser = Parser::default();
        text.as_bytes()
            .chunks(piece)
            .flat_map(|chunk| parser.push(chunk).unwrap())
            .map(|message| message.data)
            .collect()
    }

    #[test]
    fn messages_are_the_same_whatever_the_pieces() {
        let text =
            ": hello\n\nid: 1\nevent: x\ndata: {\"a\":\ndata: \"ü\"}\n\nretry: 5\n\ndata:2\r\n\r\ndata: cut";
        for piece in [1, 2, 3, 7, 1000] {
            assert_eq!(data(text, piece), ["{\"a\":\n\"ü\"}", "2"], "pieces of {piece}");
        }
    }
}
