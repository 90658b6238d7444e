//! The fields `code` and `message` of a JSON object that is too large to be kept.

/// Bytes of a field that are kept. They contain more characters than a message may have.
const MAX_FIELD_BYTES: usize = 16 << 10;
/// Bytes of a key that are kept, which is more than a known key has.
const MAX_KEY_BYTES: usize = 32;
/// The names of the fields.
const NAMES: [&str; 2] = ["code", "message"];

/// Reads an object byte by byte and keeps the beginning of two fields. Its memory does not grow with the object.
#[derive(Debug, Default)]
pub(crate) struct FieldScan {
    /// The number of open objects and arrays.
    depth: u64,
    /// Whether the object has ended, or the text is not an object.
    finished: bool,
    in_string: bool,
    escaped: bool,
    /// Whether the next string of the outermost object is a key.
    expects_key: bool,
    key: Vec<u8>,
    /// The field whose value is read.
    field: Option<usize>,
    /// The beginning of each field's value.
    fields: [Vec<u8>; 2],
}

impl FieldScan {
    /// Reads further bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.push_byte(*byte);
        }
    }

    /// Returns the code and the message, as text. A long value is cut.
    pub(crate) fn into_fields(self) -> [Option<String>; 2] {
        self.fields.map(|bytes| text_of(&bytes))
    }

    fn push_byte(&mut self, byte: u8) {
        if self.finished {
            return;
        }
        if self.depth == 0 {
            match byte {
                b'{' => (self.depth, self.expects_key) = (1, true),
                // White space and a byte order mark.
                b' ' | b'\t' | b'\r' | b'\n' | 0xef | 0xbb | 0xbf => {}
                _ => self.finished = true,
            }
            return;
        }
        if self.in_string {
            self.keep(byte);
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        let outermost = self.depth == 1;
        match byte {
            b'"' => {
                self.in_string = true;
                if outermost && self.expects_key {
                    self.key.clear();
                }
                self.keep(byte);
            }
            b':' if outermost && self.expects_key => {
                self.expects_key = false;
                self.field = serde_json::from_slice::<String>(&self.key)
                    .ok()
                    .and_then(|key| NAMES.iter().position(|name| *name == key));
                if let Some(kept) = self.field.and_then(|field| self.fields.get_mut(field)) {
                    // The last field of a name counts.
                    kept.clear();
                }
            }
            b',' if outermost => self.end_value(),
            b'{' | b'[' => {
                self.depth += 1;
                self.keep(byte);
            }
            b'}' | b']' if outermost => self.finished = true,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.keep(byte);
            }
            _ => self.keep(byte),
        }
    }

    fn end_value(&mut self) {
        self.field = None;
        self.expects_key = true;
    }

    fn keep(&mut self, byte: u8) {
        if self.depth == 1 && self.expects_key {
            if self.key.len() < MAX_KEY_BYTES {
                self.key.push(byte);
            }
            return;
        }
        let Some(kept) = self.field.and_then(|field| self.fields.get_mut(field)) else { return };
        if kept.len() < MAX_FIELD_BYTES {
            kept.push(byte);
        }
    }
}

/// Returns the value of a field as text: a string as it is, another value in JSON. `None` for null and an empty string.
fn text_of(value: &[u8]) -> Option<String> {
    let value = value.trim_ascii();
    if value.is_empty() || value == b"null" || value == b"\"\"" {
        return None;
    }
    // A string without an end was cut, or the body was truncated.
    let text = if value.starts_with(b"\"") {
        serde_json::from_slice(value).ok().or_else(|| beginning(value))
    } else {
        None
    };
    Some(text.unwrap_or_else(|| String::from_utf8_lossy(value).into_owned()))
}

/// Returns the text of a JSON string whose end is missing. The end may be inside a character or an escape sequence,
/// which have at most twelve bytes.
fn beginning(string: &[u8]) -> Option<String> {
    (0..=12).find_map(|dropped| {
        let mut closed = string.get(..string.len().checked_sub(dropped)?)?.to_vec();
        closed.push(b'"');
        serde_json::from_slice(&closed).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::FieldScan;
    use serde_json::json;

    fn scan(body: &[u8], chunk: usize) -> [Option<String>; 2] {
        let mut scan = FieldScan::default();
        body.chunks(chunk).for_each(|chunk| scan.push(chunk));
        scan.into_fields()
    }

    fn some(code: &str, message: &str) -> [Option<String>; 2] {
        [code, message].map(|text| (!text.is_empty()).then(|| text.to_owned()))
    }

    #[test]
    fn fields_of_the_outermost_object_are_found_anywhere() {
        let filler = "\"code\": \"\\\"no\\\\\", ".repeat(10_000);
        let cases = [
            (r#"{"code": "A", "message": "b"}"#.to_owned(), some("A", "b")),
            (
                format!(r#"{{"list": [{{"code": "no"}}, {:?}], "message":"b","code":"A"}}"#, filler),
                some("A", "b"),
            ),
            (
                format!(
                    r#"{{"code":"A","detail":{{"message":{filler:?}}},"message":"b\n\u00e4\ud83d\ude00"}}"#
                ),
                some("A", "b\nä😀"),
            ),
            (r#"{ "code" : 7 , "message" : {"a": [1, "}"]} }"#.to_owned(), some("7", r#"{"a": [1, "}"]}"#)),
            (r#"{"co\u0064e": "A", "message": null}"#.to_owned(), some("A", "")),
            (r#"{"code": "old", "code": "A", "message": ""}"#.to_owned(), some("A", "")),
            (r#"["code", {"code": "A"}]"#.to_owned(), some("", "")),
            (r#"{"key": {"code": "A"}} {"code": "B"}"#.to_owned(), some("", "")),
            ("<html>\"code\": \"A\"".to_owned(), some("", "")),
            (r#"{"code": "A", "message": "breaks of"#.to_owned(), some("A", "breaks of")),
            (r#"{"code": "A", "message": "breaks \ud83d\u"#.to_owned(), some("A", "breaks ")),
        ];
        for (body, expected) in cases {
            for chunk in [1, 2, 7, 1000] {
                assert_eq!(
                    scan(body.as_bytes(), chunk),
                    expected,
                    "{chunk}: {}",
                    body.get(..60).unwrap_or(&body)
                );
            }
        }
    }

    #[test]
    fn long_field_is_cut() {
        let body = json!({"message": "ä".repeat(1 << 20), "code": "A"}).to_string();
        let [code, message] = scan(body.as_bytes(), 4096);
        let message = message.unwrap();
        assert_eq!(code.as_deref(), Some("A"));
        assert!(
            message.starts_with("ää") && message.ends_with('ä') && message.len() < 20_000,
            "{}",
            message.len()
        );
    }
}
