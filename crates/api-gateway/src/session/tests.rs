//! Sessions without a gateway.

use super::*;
use axum::http::header;

fn sessions(seed: u8) -> Sessions {
    let ring = KeyRing::of_process(&Randomness::of_bytes([seed; 32], [0; 24], [0; 24]));
    Sessions {
        keys: SessionKeys::Process(Arc::new(ring)),
        lifetime: Duration::from_secs(60),
        session: Cookie::strict(SESSION, false),
        sign_in: Cookie::lax(SIGN_IN, false),
    }
}

fn identity() -> SessionIdentity {
    SessionIdentity::Key { id: "0123456789abcdef".to_owned() }
}

/// The header with which a browser returns a cookie.
fn returned(set: &HeaderValue) -> HeaderMap {
    let pair = set.to_str().unwrap().split(';').next().unwrap().to_owned();
    HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(&pair).unwrap())])
}

fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
}

#[test]
fn session_is_read_by_a_gateway_with_the_same_key_only() {
    let (set, ends_at) = sessions(1).begin(identity()).unwrap();
    let expected = Presented::Session(ConsoleSession { identity: identity(), ends_at });
    assert_eq!(sessions(1).read(&returned(&set)), expected);
    assert_eq!(sessions(2).read(&returned(&set)), Presented::Invalid);
    assert_eq!(sessions(1).read(&HeaderMap::new()), Presented::Nothing);
    assert_eq!(sessions(1).read(&returned(&sessions(1).end())), Presented::Invalid);
}

#[test]
fn session_that_has_ended_is_invalid() {
    let ended = Sessions { lifetime: Duration::ZERO, ..sessions(1) };
    let (set, _) = ended.begin(identity()).unwrap();
    assert_eq!(sessions(1).read(&returned(&set)), Presented::Invalid);
}

#[test]
fn cookie_of_a_sign_in_is_not_a_session() {
    let sessions = sessions(1);
    let (set, _) = sessions.begin(identity()).unwrap();
    let value = set.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap().1.to_owned();
    let other = HeaderValue::from_str(&format!("goconductor-sign-in={value}")).unwrap();
    assert!(sessions.begun_sign_in(&HeaderMap::from_iter([(header::COOKIE, other)])).is_none());
}

#[test]
fn request_by_a_session_must_come_from_this_origin() {
    let csrf = (CSRF_HEADER, "1");
    let site = |value: &'static str| (FETCH_SITE, value);
    for (method, pairs, code) in [
        (Method::GET, vec![], None),
        (Method::GET, vec![site("same-origin")], None),
        (Method::GET, vec![site("none")], None),
        (Method::GET, vec![site("same-site")], Some("GC2022")),
        (Method::GET, vec![site("cross-site")], Some("GC2022")),
        (Method::GET, vec![site("")], Some("GC2022")),
        (Method::POST, vec![site("same-origin")], Some("GC2142")),
        (Method::POST, vec![site("same-origin"), (CSRF_HEADER, "")], Some("GC2142")),
        (Method::POST, vec![site("same-origin"), csrf.clone()], None),
        (Method::POST, vec![csrf.clone()], None),
        (Method::POST, vec![site("cross-site"), csrf.clone()], Some("GC2022")),
        (Method::PUT, vec![], Some("GC2142")),
        (Method::PATCH, vec![], Some("GC2142")),
        (Method::DELETE, vec![], Some("GC2142")),
    ] {
        let found = check_origin(&method, &headers(&pairs)).err().map(|problem| problem.code());
        assert_eq!(found, code, "{method} {pairs:?}");
    }
}
