//! Properties of sealed values: what was sealed is opened, and nothing else.

use goconductor_secrets::{
    Binding, KeyRing, MasterKey, OpenError, PayloadError, PayloadKey, Randomness, SealedValue, open, rewrap,
    seal,
};
use proptest::prelude::*;
use secrecy::{ExposeSecret as _, SecretSlice};

fn key_text(seed: u8) -> String {
    (0..32_u8).map(|index| format!("{:02x}", index.wrapping_mul(7).wrapping_add(seed))).collect()
}

fn ring(seeds: &[u8]) -> KeyRing {
    let lines: Vec<String> = seeds.iter().map(|seed| key_text(*seed)).collect();
    KeyRing::parse(&lines.join("\n")).unwrap()
}

fn sealed(ring: &KeyRing, binding: &Binding<'_>, value: &[u8]) -> SealedValue {
    seal(ring.current(), binding, value, &Randomness::of_system().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sealed_value_is_opened_in_its_place_only(
        value in proptest::collection::vec(any::<u8>(), 0..200),
        namespace in "[a-z]{1,8}",
        name in "[a-z]{1,8}",
        version in 1..u32::MAX,
    ) {
        let ring = ring(&[1]);
        let binding = Binding { namespace: &namespace, name: &name, version };
        let sealed = sealed(&ring, &binding, &value);
        let opened = open(&ring, &binding, &sealed).unwrap();
        prop_assert_eq!(opened.expose_secret(), &value[..]);
        let (longer, joined) = (format!("{name}x"), format!("{namespace}{name}"));
        for other in [
            Binding { version: version + 1, ..binding },
            Binding { name: &longer, ..binding },
            Binding { namespace: &longer, ..binding },
            Binding { namespace: &name, name: &namespace, version },
            Binding { namespace: "", name: &joined, version },
        ] {
            if other != binding {
                prop_assert_eq!(open(&ring, &other, &sealed).unwrap_err(), OpenError::Refused);
            }
        }
    }

    #[test]
    fn value_with_a_changed_bit_is_refused(
        value in proptest::collection::vec(any::<u8>(), 0..64),
        at in any::<proptest::sample::Index>(),
        bit in 0..8_u8,
        in_key in any::<bool>(),
    ) {
        let ring = ring(&[1]);
        let binding = Binding { namespace: "default", name: "token", version: 1 };
        let mut sealed = sealed(&ring, &binding, &value);
        let bytes = if in_key { &mut sealed.key.wrapped } else { &mut sealed.sealed };
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert_eq!(open(&ring, &binding, &sealed).unwrap_err(), OpenError::Refused);
        let bytes = if in_key { &mut sealed.key.wrapped } else { &mut sealed.sealed };
        bytes.truncate(at);
        prop_assert_eq!(open(&ring, &binding, &sealed).unwrap_err(), OpenError::Refused);
    }

    #[test]
    fn payload_is_opened_with_its_key_and_in_its_place_only(
        text in ".{0,200}",
        place in "[a-z/0-9]{1,20}",
        at in any::<proptest::sample::Index>(),
    ) {
        let key = |version, byte| PayloadKey::new(version, &SecretSlice::from(vec![byte; 32])).unwrap();
        let sealed = key(3, 7).seal(&place, &text, [9; 24]);
        prop_assert!(goconductor_secrets::is_sealed(&sealed));
        prop_assert_eq!(goconductor_secrets::payload_key_version(&sealed), Some(3));
        prop_assert_eq!(key(3, 7).open(&place, &sealed), Ok(text));
        prop_assert_eq!(key(3, 8).open(&place, &sealed), Err(PayloadError::Refused));
        prop_assert_eq!(key(4, 7).open(&place, &sealed), Err(PayloadError::Refused));
        prop_assert_eq!(key(3, 7).open(&format!("{place}x"), &sealed), Err(PayloadError::Refused));
        let mut bytes = sealed.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        prop_assert!(key(3, 7).open(&place, &String::from_utf8(bytes).unwrap()).is_err());
    }
}

#[test]
fn value_of_another_master_key_is_refused() {
    let binding = Binding { namespace: "default", name: "token", version: 1 };
    let mut sealed = sealed(&ring(&[1]), &binding, b"value");
    let id = sealed.key.key_id;
    assert_eq!(open(&ring(&[2]), &binding, &sealed).unwrap_err(), OpenError::UnknownKey(id));
    sealed.key.key_id = ring(&[2]).current().id();
    assert_eq!(open(&ring(&[2]), &binding, &sealed).unwrap_err(), OpenError::Refused);
}

#[test]
fn rewrapped_value_needs_the_new_key_only() {
    let binding = Binding { namespace: "default", name: "token", version: 1 };
    let value = sealed(&ring(&[1]), &binding, b"value");
    let both = ring(&[2, 1]);
    let randomness = || Randomness::of_system().unwrap();
    let key = rewrap(&both, &binding, &value.key, &randomness()).unwrap().expect("it has the earlier key");
    let value = SealedValue { key, ..value };
    assert_eq!(open(&ring(&[2]), &binding, &value).unwrap().expose_secret(), b"value");
    assert!(open(&ring(&[1]), &binding, &value).is_err());
    assert_eq!(rewrap(&both, &binding, &value.key, &randomness()).unwrap(), None);
    let elsewhere = Binding { name: "other", ..binding };
    assert_eq!(rewrap(&ring(&[3, 2]), &elsewhere, &value.key, &randomness()), Err(OpenError::Refused));
}

#[test]
fn opened_value_is_not_printed() {
    let binding = Binding { namespace: "default", name: "token", version: 1 };
    let ring = ring(&[1]);
    let opened = open(&ring, &binding, &sealed(&ring, &binding, b"hunter2")).unwrap();
    let printed = format!("{opened:?} {:?}", MasterKey::parse(&key_text(1)).unwrap());
    assert!(!printed.contains("hunter2") && !printed.contains("104"), "{printed}");
}
