//! Calls that a definition spells out.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use serde::{Deserialize, Serialize};

/// The name of the service whose queue receives the commands of calls. It ends with a hyphen, so it is not the name of a
/// service that a user could register, and it is valid in the names of topics.
pub const CALLS_SERVICE: &str = "calls-";
/// The operation of a call, for the limits and the metrics of operations.
pub const CALL_OPERATION: &str = "call";
/// The scheme of a reference to a secret.
const SECRET: &str = "secret://";

/// A call that a definition spells out.
///
/// The request itself is the input of the command, so it is computed from the state and never stored. This is the part of
/// the request that an input cannot change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// An HTTP request.
    Http(HttpCall),
    /// A unary gRPC request.
    Grpc(GrpcCall),
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

/// A unary gRPC request that a definition spells out. The input of its command is an object with `target`, and optionally
/// `metadata` and `message`, the message in the JSON form of Protobuf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrpcCall {
    /// The address of the server as it is written: a text, one expression, or a reference to a secret (`secret://name`).
    pub target: String,
    /// The full name of the method, as `package.Service/Method`.
    pub method: String,
    /// The metadata whose values are secrets: the names in lower case, and the references.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_metadata: BTreeMap<String, String>,
    /// The types of the messages: a `google.protobuf.FileDescriptorSet` in Base64. `None` if the server is asked for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descriptor_set: Option<Arc<str>>,
}

impl GrpcCall {
    /// Returns the reference to the secret that contains the target, or `None` if the target is in the input.
    #[must_use]
    pub fn target_secret(&self) -> Option<&str> {
        self.target.starts_with(SECRET).then_some(self.target.as_str())
    }
}

impl HttpCall {
    /// Returns the reference to the secret that contains the URL, or `None` if the URL is in the input.
    #[must_use]
    pub fn url_secret(&self) -> Option<&str> {
        self.url.starts_with(SECRET).then_some(self.url.as_str())
    }
}

impl Call {
    /// Returns whether the call refers to secrets.
    #[must_use]
    pub fn has_secrets(&self) -> bool {
        match self {
            Self::Http(call) => call.url_secret().is_some() || !call.secret_headers.is_empty(),
            Self::Grpc(call) => call.target_secret().is_some() || !call.secret_metadata.is_empty(),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(call) => write!(f, "{} {}", call.method, call.url),
            Self::Grpc(call) => write!(f, "gRPC {} at {}", call.method, call.target),
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

    #[test]
    fn stored_form_of_a_grpc_call_is_stable() {
        let call = GrpcCall {
            target: "https://api.example".to_owned(),
            method: "payments.v1.Payments/Charge".to_owned(),
            secret_metadata: BTreeMap::new(),
            descriptor_set: None,
        };
        let action = Action::Call(Box::new(Call::Grpc(call.clone())));
        let text =
            r#"{"call":{"grpc":{"target":"https://api.example","method":"payments.v1.Payments/Charge"}}}"#;
        assert_eq!(serde_json::to_string(&action).unwrap(), text);
        assert_eq!(serde_json::from_str::<Action>(text).unwrap(), action);
        assert_eq!(action.to_string(), "gRPC payments.v1.Payments/Charge at https://api.example");
        let full = GrpcCall {
            target: "secret://target".to_owned(),
            secret_metadata: BTreeMap::from([("authorization".to_owned(), "secret://token".to_owned())]),
            descriptor_set: Some("CgA=".into()),
            ..call
        };
        assert_eq!(full.target_secret(), Some("secret://target"));
        let stored = serde_json::to_string(&Call::Grpc(full.clone())).unwrap();
        assert_eq!(serde_json::from_str::<Call>(&stored).unwrap(), Call::Grpc(full.clone()));
        assert!(Call::Grpc(full).has_secrets());
    }
}
