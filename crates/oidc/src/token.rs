//! The checks of a token: its form, its signature, its claims.

use crate::MAX_TOKEN_BYTES;
use crate::claims::Claims;
use crate::keys::KeySet;
use crate::object::Object;
use crate::rejection::Reason;
use crate::settings::{Algorithm, Settings};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// Maximum bytes of a subject. The specification of OpenID Connect allows 255.
const MAX_SUBJECT_BYTES: usize = 255;
/// The values of `typ` of access tokens (RFC 9068) and ID tokens. Other tokens of an issuer, such as those of a logout,
/// have the same claims with another meaning.
const TYPES: [&str; 4] = ["jwt", "at+jwt", "application/jwt", "application/at+jwt"];

/// The purpose that a token must have.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expected<'e> {
    /// A token for an audience of the settings.
    AccessToken,
    /// The ID token of a sign-in (OpenID Connect Core 1.0, section 3.1.3.7).
    IdToken {
        /// The only accepted audience, or the authorized party if there are several audiences.
        client_id: &'e str,
        /// The nonce of the sign-in.
        nonce: &'e str,
    },
}

/// A token whose form has been checked, and nothing else.
#[derive(Debug)]
pub(crate) struct UnverifiedToken<'a> {
    /// The signed text: header and payload.
    signed: &'a str,
    payload: &'a str,
    signature: Vec<u8>,
    algorithm: Algorithm,
    key_id: Option<String>,
}

impl<'a> UnverifiedToken<'a> {
    /// Parses a token in compact form (RFC 7515, section 7.1) and checks its header.
    pub(crate) fn parse(token: &'a str, allowed: &[Algorithm]) -> Result<Self, Reason> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Reason::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Reason::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(Reason::Malformed)?;
        if payload.contains('.') {
            return Err(Reason::Malformed);
        }
        let header = object(header)?;
        if header.get("crit").is_some() || header.get("b64").is_some() {
            return Err(Reason::CriticalHeader);
        }
        let text = |name: &str| header.string(name).map_err(|_| Reason::Malformed);
        let algorithm = text("alg")?
            .and_then(Algorithm::parse)
            .filter(|algorithm| allowed.contains(algorithm))
            .ok_or(Reason::Algorithm)?;
        if text("typ")?.is_some_and(|typ| !TYPES.contains(&typ.to_ascii_lowercase().as_str())) {
            return Err(Reason::Type);
        }
        let key_id = text("kid")?.map(str::to_owned);
        let signature = decode(signature)?;
        Ok(Self { signed, payload, signature, algorithm, key_id })
    }

    /// Checks the signature with the key that `kid` and `alg` select, and then the claims.
    pub(crate) fn verify(
        &self,
        keys: &KeySet,
        settings: &Settings,
        expected: Expected<'_>,
        now: SystemTime,
    ) -> Result<Claims, Reason> {
        let key = keys.select(self.key_id.as_deref(), self.algorithm).ok_or(Reason::UnknownKey)?;
        key.verify_sig(self.signed.as_bytes(), &self.signature).map_err(|_| Reason::Signature)?;
        claims(&object(self.payload)?, settings, expected, now)
    }
}

fn claims(
    payload: &Object,
    settings: &Settings,
    expected: Expected<'_>,
    now: SystemTime,
) -> Result<Claims, Reason> {
    let text = |name: &str| payload.string(name).map_err(|_| Reason::Claim);
    if text("iss")?.ok_or(Reason::Claim)? != settings.issuer {
        return Err(Reason::Issuer);
    }
    let audiences = strings(payload.get("aud"))?;
    let is_accepted = match expected {
        Expected::AccessToken => audiences.iter().any(|audience| settings.audiences.contains(audience)),
        Expected::IdToken { client_id, .. } => {
            let authorized = text("azp")?;
            audiences.iter().any(|audience| audience == client_id)
                && authorized.map_or(audiences.len() == 1, |party| party == client_id)
        }
    };
    if !is_accepted {
        return Err(Reason::Audience);
    }
    if let Expected::IdToken { nonce, .. } = expected
        && text("nonce")? != Some(nonce)
    {
        return Err(Reason::Nonce);
    }
    let expires_at = time(payload, "exp")?.ok_or(Reason::Claim)?;
    if later(expires_at, settings.skew)? <= now {
        return Err(Reason::Expired);
    }
    for name in ["nbf", "iat"] {
        if time(payload, name)?.is_some_and(|time| later(now, settings.skew).is_ok_and(|now| time > now)) {
            return Err(Reason::NotYetValid);
        }
    }
    let subject = text("sub")?.filter(|subject| is_subject(subject)).ok_or(Reason::Claim)?;
    let groups = strings(payload.get(&settings.groups_claim))?;
    Ok(Claims { issuer: settings.issuer.clone(), subject: subject.to_owned(), groups, expires_at })
}

/// Subjects are shown and stored, so control characters are refused.
fn is_subject(text: &str) -> bool {
    (1..=MAX_SUBJECT_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Reads a claim that is a string or a list of strings. A missing claim is an empty list.
fn strings(value: Option<&Value>) -> Result<Vec<String>, Reason> {
    match value {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(Value::Array(values)) => {
            values.iter().map(|value| value.as_str().map(str::to_owned).ok_or(Reason::Claim)).collect()
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => Err(Reason::Claim),
    }
}

/// Reads a `NumericDate`: seconds since 1970, possibly with a fraction.
fn time(payload: &Object, name: &str) -> Result<Option<SystemTime>, Reason> {
    let Some(value) = payload.get(name) else { return Ok(None) };
    let since_epoch = match (value.as_u64(), value.as_f64()) {
        (Some(seconds), _) => Duration::from_secs(seconds),
        (None, Some(seconds)) => Duration::try_from_secs_f64(seconds).map_err(|_| Reason::Claim)?,
        (None, None) => return Err(Reason::Claim),
    };
    later(SystemTime::UNIX_EPOCH, since_epoch).map(Some)
}

/// Adds a duration. A time that cannot be represented is refused.
fn later(time: SystemTime, duration: Duration) -> Result<SystemTime, Reason> {
    time.checked_add(duration).ok_or(Reason::Claim)
}

fn object(part: &str) -> Result<Object, Reason> {
    Object::parse(&decode(part)?).ok_or(Reason::Malformed)
}

fn decode(part: &str) -> Result<Vec<u8>, Reason> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Reason::Malformed)
}
