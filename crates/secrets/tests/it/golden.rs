//! Stored fixtures: values that were sealed by a release are opened by every later one. A file in `tests/golden` never
//! changes. Its lines are `name = value`, with bytes in hexadecimal.

use goconductor_secrets::{Binding, KeyRing, PayloadKey, Randomness, SealedValue, WrappedKey, open, seal};
use secrecy::{ExposeSecret as _, SecretSlice};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Reads a fixture, or writes a missing one.
fn fixture(name: &str, fields: &[(&str, String)]) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(path(name)).unwrap_or_else(|_| {
        let mut text = String::new();
        fields.iter().for_each(|(name, value)| writeln!(text, "{name} = {value}").unwrap());
        std::fs::write(path(name), &text).unwrap();
        text
    });
    let line = |line: &str| line.split_once(" = ").map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.lines().filter_map(line).collect()
}

#[test]
fn secret_of_the_first_format_is_opened() {
    let ring = KeyRing::parse(KEY).unwrap();
    let binding = Binding { namespace: "default", name: "payments-token", version: 7 };
    let value = "correct horse battery staple ☂";
    let randomness = Randomness::of_bytes([0x21; 32], [0x22; 24], [0x23; 24]);
    let sealed = seal(ring.current(), &binding, value.as_bytes(), &randomness);
    let fields = fixture(
        "secret-1.txt",
        &[
            ("key_id", sealed.key.key_id.to_string()),
            ("wrapped_key", hex(&sealed.key.wrapped)),
            ("sealed", hex(&sealed.sealed)),
        ],
    );
    let stored = SealedValue {
        key: WrappedKey { key_id: fields["key_id"].parse().unwrap(), wrapped: bytes(&fields["wrapped_key"]) },
        sealed: bytes(&fields["sealed"]),
    };
    assert_eq!(open(&ring, &binding, &stored).unwrap().expose_secret(), value.as_bytes());
    assert_eq!(sealed, stored, "the form of sealed values changed: earlier releases cannot open them");
}

#[test]
fn payload_of_the_first_format_is_opened() {
    let key = PayloadKey::new(3, &SecretSlice::from(bytes(KEY))).unwrap();
    let text = r#"{"order_id":"o-1","card":{"number":"4111"}}"#;
    let sealed = key.seal("default/state", text, [0x24; 24]);
    let fields = fixture("payload-1.txt", &[("sealed", sealed.clone())]);
    assert_eq!(key.open("default/state", &fields["sealed"]).unwrap(), text);
    assert_eq!(sealed, fields["sealed"], "the form of payloads changed: earlier releases cannot open them");
}
