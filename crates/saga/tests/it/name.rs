//! The rules for names: the accepted set of each kind, and the error that a refused name gets.

use goconductor_saga::{LockKey, NameKind, Namespace, ServiceName};

#[test]
fn each_kind_accepts_exactly_its_own_set() {
    use NameKind::{Action, Candidate, Election, LockKey, LockOwner, Namespace, Service};
    let long = |bytes: usize| "a".repeat(bytes);
    let cases: &[(NameKind, &str, bool)] = &[
        (Namespace, "default", true),
        (Namespace, "team-7", true),
        (Namespace, "7", true),
        (Namespace, "ends-", true),
        (Namespace, "-starts", false),
        (Namespace, "Upper", false),
        (Namespace, "under_score", false),
        (Namespace, "ünicode", false),
        (Namespace, "", false),
        (Namespace, &long(63), true),
        (Namespace, &long(64), false),
        (Service, "payments", true),
        (Service, "7-eleven", true),
        (Service, "ends-", false),
        (Service, "-starts", false),
        (Service, "a/b", false),
        (Service, "", false),
        (Service, &long(63), true),
        (Service, &long(64), false),
        (Action, "charge", true),
        (Action, "Charge_v1.2-beta", true),
        (Action, "", false),
        (Action, "..", false),
        (Action, "a/b", false),
        (Action, "a b", false),
        (Action, "a\0b", false),
        (Action, "ä", false),
        (Action, &long(128), true),
        (Action, &long(129), false),
        (LockKey, "account/7", true),
        (LockKey, "Käse & Brot", true),
        (LockKey, "...", true),
        (LockKey, ".", false),
        (LockKey, "..", false),
        (LockKey, "line\nbreak", false),
        (LockKey, "c1\u{85}control", false),
        (LockKey, "", false),
        (LockKey, &long(512), true),
        (LockKey, &long(513), false),
        (LockOwner, ".", true),
        (LockOwner, "host:4711", true),
        (LockOwner, "tab\t", false),
        (LockOwner, &long(256), true),
        (LockOwner, &long(257), false),
        (Election, "leader", true),
        (Election, "..", false),
        (Election, &long(257), false),
        (Candidate, "..", true),
        (Candidate, "", false),
    ];
    for (kind, name, accepted) in cases {
        assert_eq!(kind.check(name).is_ok(), *accepted, "{kind:?} {name:?}");
    }
}

#[test]
fn error_names_the_value_and_the_rule() {
    let error = "Team".parse::<Namespace>().expect_err("upper case is refused");
    assert_eq!(
        error.to_string(),
        "`Team` is not a valid namespace: use 1 to 63 lower-case letters (a-z), digits and hyphens, with no \
         hyphen at the start"
    );
    let error = LockKey::try_from(format!("{}\n", "k".repeat(600))).expect_err("too long");
    assert_eq!(error.value, format!("{}…", "k".repeat(80)));
    let error = LockKey::check("a\nb").expect_err("a control character is refused");
    assert_eq!(error.value, "a\\nb");
}

#[test]
fn serialized_name_is_a_plain_string_and_is_checked_when_read() {
    let name: ServiceName = "payments".parse().expect("a valid name");
    assert_eq!(serde_json::to_string(&name).expect("a string"), r#""payments""#);
    assert_eq!(serde_json::from_str::<ServiceName>(r#""payments""#).expect("a valid name"), name);
    let error = serde_json::from_str::<ServiceName>(r#""Payments""#).expect_err("upper case is refused");
    assert!(error.to_string().contains("`Payments` is not a valid service name"), "{error}");
}
