//! Encoding of names for keys and paths. Any text is a valid name, and different names have different encodings.

/// Keeps letters, digits, `-` and `_`, and writes every other byte as `%XX`. The empty name is `%`.
pub(crate) fn encoded(name: &str) -> String {
    if name.is_empty() {
        return "%".to_owned();
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    name.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Decodes a name. Returns `None` if the text is not an encoded name.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(percent) = rest.find('%') {
        bytes.extend_from_slice(rest.get(..percent)?.as_bytes());
        if text == "%" {
            return Some(String::new());
        }
        bytes.push(u8::from_str_radix(rest.get(percent + 1..percent + 3)?, 16).ok()?);
        rest = rest.get(percent + 3..)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    let name = String::from_utf8(bytes).ok()?;
    // Another program may have created a key with another encoding.
    (encoded(&name) == text).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::{decoded, encoded};

    #[test]
    fn names_survive_encoding() {
        for (name, text) in [
            ("relay", "relay"),
            ("duties/0-of-4", "duties%2F0-of-4"),
            ("", "%"),
            ("%", "%25"),
            ("..", "%2E%2E"),
            ("zürich\u{0}", "z%C3%BCrich%00"),
        ] {
            assert_eq!(encoded(name), text);
            assert_eq!(decoded(text).as_deref(), Some(name));
        }
        for strange in ["a/b", "%2", "%zz", "%2f", "%41", "%FF", "ü", "a%"] {
            assert_eq!(decoded(strange), None, "{strange}");
        }
    }
}
