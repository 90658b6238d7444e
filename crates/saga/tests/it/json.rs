//! JSON from outside: every value is kept as written, or the document is refused.

use goconductor_saga::{JsonErrorKind, json_bytes, keeps_number, parse_json, shortened};
use proptest::prelude::*;

fn kind(text: &[u8]) -> JsonErrorKind {
    parse_json(text).expect_err("the document is refused").kind
}

#[test]
fn number_is_kept_or_refused() {
    for kept in [
        "0",
        "-0",
        "0.0",
        "-0.0",
        "0e99999",
        "7",
        "-7",
        "1.50",
        "19.90",
        "1e2",
        "1E+2",
        "100e-2",
        "0.1",
        "0.30",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551615",
        "9007199254740993",
        "1e20",
        "100000000000000000000",
        "1.7976931348623157e308",
        "5e-324",
        "2.2250738585072014e-308",
        "1e23",
        "123456789012.345",
        "0.000001",
        "0.00000000000000000000000000000000000000001",
        "1.0000000000000000000000",
    ] {
        assert!(keeps_number(kept), "{kept}");
        let value = parse_json(kept.as_bytes()).unwrap_or_else(|error| panic!("{kept}: {error}"));
        let again = parse_json(value.to_string().as_bytes()).unwrap();
        assert_eq!(value, again, "{kept}");
    }
    for refused in [
        "18446744073709551616",
        "18446744073709551617",
        "-9223372036854775809",
        "123456789012345678.99",
        "1234567890123456789012345",
        "0.12345678901234567890",
        "100000000000000000001",
        "12345678901234567.0",
        "9007199254740993.0",
        "0.1000000000000000055511151231257827",
        "1e400",
        "-1e309",
        "1e-400",
        "4.9e-325",
        "1.7976931348623159e308",
    ] {
        assert!(!keeps_number(refused), "{refused}");
        let text = format!("{{\"a\": [1, \"1e999\\\"\", {{\"b\":\n {refused}}}]}}");
        let error = parse_json(text.as_bytes()).expect_err(refused);
        assert_eq!(error.kind, JsonErrorKind::InexactNumber(refused.to_owned()));
        assert_eq!((error.line, error.column), (2, 2), "{refused}");
    }
    for other in ["", "-", "+", ".", "e1", "1-2", "1.2.3", "0x10", "NaN", "inf", "1e", "1 "] {
        assert!(!keeps_number(other), "{other:?}");
    }
}

#[test]
fn digits_in_strings_are_not_numbers() {
    let text = r#"{"a\\": "\\\"123456789012345678.99", "b": 0.5, "18446744073709551616": "\\"}"#;
    let value = parse_json(text.as_bytes()).unwrap();
    assert_eq!(value["a\\"], "\\\"123456789012345678.99");
    assert_eq!(value["18446744073709551616"], "\\");
}

#[test]
fn duplicate_key_is_refused_at_any_depth() {
    for text in [
        r#"{"amount": 1, "amount": 2}"#,
        r#"{"amount": 1, "amount": 1}"#,
        r#"[{"a": {"b": [{"amount": 1, "x": 2, "amount": null}]}}]"#,
        r#"{"amount": 1, "\u0061mount": 2}"#,
    ] {
        assert_eq!(kind(text.as_bytes()), JsonErrorKind::DuplicateKey("amount".to_owned()), "{text}");
    }
    let error = parse_json(b"{\n \"a\": 1,\n \"a\": 2}").unwrap_err();
    assert_eq!((error.line, error.kind.failure_code()), (3, Some("DUPLICATE_KEY")));
    assert!(parse_json(br#"[{"a": 1}, {"a": 2, "b": {"a": 3}}]"#).is_ok());
}

#[test]
fn byte_order_mark_is_ignored_and_other_encodings_are_named() {
    assert_eq!(parse_json(b"\xef\xbb\xbf{\"a\": 1}").unwrap()["a"], 1);
    for (mark, name) in [
        (&b"\xff\xfe"[..], "UTF-16"),
        (b"\xfe\xff", "UTF-16"),
        (b"\xff\xfe\0\0", "UTF-32"),
        (b"\0\0\xfe\xff", "UTF-32"),
    ] {
        let message = kind(&[mark, b"{\0}\0"].concat()).to_string();
        assert!(message.contains(name) && message.contains("save it as UTF-8"), "{message}");
    }
}

#[test]
fn other_text_is_a_syntax_error_with_its_position() {
    for text in
        ["", "{", "[1,]", "{\"a\"}", "nul", "01", "1.", "[1] 2", "\"\\ud800\"", "{1: 2}", "\u{feff}\u{feff}1"]
    {
        assert!(matches!(kind(text.as_bytes()), JsonErrorKind::Syntax(_)), "{text:?}");
    }
    let error = parse_json(b"{\n  \"a\": ?}").unwrap_err();
    assert_eq!((error.to_string().as_str(), error.line, error.column), ("expected a value", 2, 8));
}

proptest! {
    #[test]
    fn double_in_its_shortest_form_is_kept(bits: u64) {
        let double = f64::from_bits(bits);
        prop_assume!(double.is_finite());
        let text = serde_json::json!(double).to_string();
        prop_assert!(keeps_number(&text), "{}", text);
        prop_assert_eq!(parse_json(text.as_bytes()).unwrap().as_f64(), Some(double));
    }

    #[test]
    fn accepted_double_is_written_with_the_same_digits(whole in 1u64 << 50..1 << 52, fraction in 0u8..10) {
        let text = format!("{whole}.{fraction}");
        if let Ok(value) = parse_json(text.as_bytes()) {
            let written = value.to_string();
            prop_assert_eq!(written.trim_end_matches(".0"), text.trim_end_matches(".0"));
        }
    }

    #[test]
    fn accepted_number_has_the_written_value(whole in "[1-9][0-9]{0,24}", fraction in "[0-9]{1,24}") {
        // The value as an integer of units of the last digit, with the zeros at the end cut off.
        let units = |text: &str| {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
            format!("{whole}.{}", fraction.trim_end_matches('0'))
        };
        let text = format!("{whole}.{fraction}");
        let double = text.parse::<f64>().unwrap();
        // The form that JSON has, without an exponent.
        let written = serde_json::json!(double).to_string();
        let written = if written.contains('e') { format!("{double}") } else { written };
        if keeps_number(&text) {
            prop_assert_eq!(units(&written), units(&text));
        } else {
            prop_assert_ne!(units(&written), units(&text));
        }
    }

    #[test]
    fn any_document_is_read_as_serde_json_reads_it(text in r#"[\[\]{}:," a1.\\-]{0,24}"#) {
        if let Ok(value) = parse_json(text.as_bytes()) {
            prop_assert_eq!(Some(value), serde_json::from_str(&text).ok());
        }
    }
}

#[test]
fn size_of_a_document_is_that_of_its_text() {
    for text in [r"null", r#""ä\n\u0001""#, r#"{"a":[1,-2.5,true,{}],"b":18446744073709551615}"#] {
        let value = parse_json(text.as_bytes()).unwrap();
        assert_eq!(json_bytes(&value), value.to_string().len(), "{text}");
    }
}

#[test]
fn text_of_a_message_is_cut_after_its_characters() {
    for (text, expected) in [("", ""), ("äöü", "äöü"), ("äöüß", "äöü…")] {
        assert_eq!(shortened(text, 3), expected);
    }
}
