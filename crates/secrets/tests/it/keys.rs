//! The texts of master keys.

use goconductor_secrets::{KeyRing, KeyRingError, KeyTextError, MasterKey, Randomness};
use secrecy::ExposeSecret as _;

const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

#[test]
fn key_is_read_in_base64_and_hexadecimal() {
    let id = MasterKey::parse(HEX).unwrap().id();
    for text in [BASE64, BASE64.trim_end_matches('='), " AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"] {
        assert_eq!(MasterKey::parse(text).unwrap().id(), id);
    }
    assert_eq!(id.to_string().parse(), Ok(id));
}

#[test]
fn text_that_is_not_a_key_is_refused_without_repeating_it() {
    for text in ["", "hunter2", &HEX[..62], &BASE64[..40], &HEX.replace('a', "g")] {
        let error = MasterKey::parse(text).unwrap_err();
        assert_eq!(error, KeyTextError::Malformed);
        assert!(text.is_empty() || !error.to_string().contains(text));
    }
    assert_eq!(MasterKey::parse(&"00".repeat(32)).unwrap_err(), KeyTextError::NotRandom);
}

#[test]
fn first_key_of_a_ring_is_current() {
    let other = "ff".to_owned() + &HEX[2..];
    let ring = KeyRing::parse(&format!("# keys\n\n{other}\r\n{BASE64}\n")).unwrap();
    let [first, second] = [&other, HEX].map(|text| MasterKey::parse(text).unwrap().id());
    assert_eq!(ring.current().id(), first);
    assert_eq!(ring.ids().collect::<Vec<_>>(), [first, second]);
    assert!(ring.get(second).is_some());
}

#[test]
fn unusable_ring_is_refused() {
    assert_eq!(KeyRing::parse("# none\n").unwrap_err(), KeyRingError::Empty);
    let id = MasterKey::parse(HEX).unwrap().id();
    let twice = KeyRing::parse(&format!("{HEX}\n{BASE64}")).unwrap_err();
    assert_eq!(twice, KeyRingError::Duplicate { line: 2, id });
    let malformed = KeyRing::parse(&format!("{HEX}\nhunter2")).unwrap_err();
    assert_eq!(malformed, KeyRingError::Key { line: 2, error: KeyTextError::Malformed });
}

#[test]
fn generated_keys_are_valid_and_differ() {
    let generate = || MasterKey::generate(&Randomness::of_system().unwrap());
    let (one, other) = (generate(), generate());
    let id = |key: &secrecy::SecretString| MasterKey::parse(key.expose_secret()).unwrap().id();
    assert_ne!(id(&one), id(&other));
}

#[test]
fn keys_and_randomness_are_not_printed() {
    let key = MasterKey::parse(HEX).unwrap();
    let printed =
        format!("{key:?} {:?} {:?}", KeyRing::parse(HEX).unwrap(), Randomness::of_system().unwrap());
    assert!(
        !printed.contains("000102") && !printed.contains("AAEC") && !printed.contains("[0, 1"),
        "{printed}"
    );
}
