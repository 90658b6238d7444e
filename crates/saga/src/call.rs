//! Calls that a definition spells out.

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::fmt;
use serde::{Deserialize, Serialize};

/// The name of the service whose queue receives the commands of calls. It ends with a hyphen, so it is not the name of a
/// service that a user could register, and it is valid in the names of topics.
pub const CALLS_SERVICE: &str = "calls-";
/// The operation of a call, for the limits and the metrics of operations.
pub const CALL_OPERATION: &str = "call";

/// A call that a definition spells out.
///
/// The request itself is the input of the command, so it is computed from the state and never stored. This is the part of
/// the request that an input cannot change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// An HTTP request.
    Http(HttpCall),
}

/// An HTTP request that a definition spells out. The input of its command is an object with `url`, and optionally `headers`
/// and `body`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpCall {
    /// The method, in upper case.
    pub method: String,
    /// The URL as it is written: a text with or without expressions, or a reference to a secret (`secret://name`).
    pub url: String,
    /// The headers whose values are secrets: the names in lower case, and the references. Only a reference that the
    /// definition contains is resolved, never one in an input.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_headers: BTreeMap<String, String>,
}

impl HttpCall {
    /// Returns the reference to the secret that contains the URL, or `None` if the URL is in the input.
    #[must_use]
    pub fn url_secret(&self) -> Option<&str> {
        self.url.starts_with("secret://").then_some(self.url.as_str())
    }
}

impl Call {
    /// Returns whether the call refers to secrets.
    #[must_use]
    pub fn has_secrets(&self) -> bool {
        match self {
            Self::Http(call) => call.url_secret().is_some() || !call.secret_headers.is_empty(),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(call) => write!(f, "{} {}", call.method, call.url),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, NameKind};
    use alloc::borrow::ToOwned;
    use alloc::boxed::Box;
    use alloc::string::ToString;

    #[test]
    fn service_of_calls_cannot_be_registered() {
        assert!(NameKind::Service.check(CALLS_SERVICE).is_err());
        assert!(NameKind::Action.check(CALL_OPERATION).is_ok());
    }

    #[test]
    fn stored_form_of_a_call_is_stable() {
        let call = HttpCall {
            method: "POST".to_owned(),
            url: "https://api.example/charges".to_owned(),
            secret_headers: BTreeMap::new(),
        };
        let action = Action::Call(Box::new(Call::Http(call.clone())));
        let text = r#"{"call":{"http":{"method":"POST","url":"https://api.example/charges"}}}"#;
        assert_eq!(serde_json::to_string(&action).unwrap(), text);
        assert_eq!(serde_json::from_str::<Action>(text).unwrap(), action);
        assert_eq!((action.service(), action.operation()), (Some(CALLS_SERVICE), Some(CALL_OPERATION)));
        assert_eq!(action.to_string(), "POST https://api.example/charges");
        assert!(!Call::Http(call.clone()).has_secrets());
        let secret = HttpCall { url: "secret://hook?version=2".to_owned(), ..call };
        assert_eq!(secret.url_secret(), Some("secret://hook?version=2"));
        assert!(Call::Http(secret).has_secrets());
    }
}
