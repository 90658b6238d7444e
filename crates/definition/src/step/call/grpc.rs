//! `call: {grpc: …}`: a unary gRPC request that the definition spells out.

use super::{CallTexts, SECRET, check_literal, check_secret, is_expression};
use crate::fields::{At, FieldReader};
use crate::problem::{CALL, GRPC_DESCRIPTORS};
use crate::template::text_template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use goconductor_saga::{GrpcCall, Json, Template};
use prost_reflect::DescriptorPool;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The key of the types of the messages. It is not part of the request.
pub(super) const DESCRIPTOR_SET: &str = "descriptor_set";
/// Maximum bytes of a descriptor set.
const MAX_DESCRIPTOR_BYTES: usize = 256 << 10;
/// Maximum bytes of a target.
const MAX_TARGET_BYTES: usize = 2048;
/// Maximum bytes of the name of a method.
const MAX_METHOD_BYTES: usize = 512;

impl FieldReader {
    pub(super) fn grpc_call(&mut self, at: &At<'_>) -> Option<GrpcCall> {
        let fields = self.fields(at, &["target", "method", "metadata", "message", DESCRIPTOR_SET])?;
        let target_at = self.required(&fields, "target");
        let target = target_at.as_ref().and_then(|at| self.grpc_target(at));
        let method = self.required(&fields, "method").and_then(|at| self.grpc_method(&at));
        let secret_metadata = match fields.get("metadata") {
            Some(at) => self.call_texts(&at, CallTexts::Metadata),
            None => Some(BTreeMap::new()),
        };
        let descriptor_set = match fields.get(DESCRIPTOR_SET) {
            Some(at) => Some(self.descriptor_set(&at, method.as_deref())?),
            None => None,
        };
        let call =
            GrpcCall { target: target?, method: method?, secret_metadata: secret_metadata?, descriptor_set };
        if let (Some(at), true) = (target_at, is_expression(&call.target) && !call.secret_metadata.is_empty())
        {
            let detail = "the target is an expression and the value of a metadata entry is a secret: an input could \
                          send the secret elsewhere";
            let hint = "write out the target, or use `secret://name` as the target";
            self.push(at.problem(CALL, detail).hint(hint));
            return None;
        }
        Some(call)
    }

    /// Reads the address of the server, as it is written. It does not depend on the input, unless it is a single
    /// expression.
    fn grpc_target(&mut self, at: &At<'_>) -> Option<String> {
        let text = self.text(at)?;
        let checked = if text.starts_with(SECRET) { check_secret(text) } else { check_target(text) };
        match checked {
            Ok(()) => Some(text.to_owned()),
            Err(detail) => {
                self.push(at.problem(CALL, detail));
                None
            }
        }
    }

    /// Reads the full name of a method. A `/` before it, as in paths of gRPC, is left out.
    fn grpc_method(&mut self, at: &At<'_>) -> Option<String> {
        let text = self.text(at)?;
        let method = text.strip_prefix('/').unwrap_or(text);
        if is_method(method) {
            return Some(method.to_owned());
        }
        let detail = format!("`{text}` is not the full name of a method: write `package.Service/Method`");
        self.push(at.problem(CALL, detail));
        None
    }

    /// Reads the types of the messages, and checks that they have the method.
    fn descriptor_set(&mut self, at: &At<'_>, method: Option<&str>) -> Option<Arc<str>> {
        let text: String = self.text(at)?.split_ascii_whitespace().collect();
        let checked = decode_descriptors(&text).and_then(|pool| match method {
            Some(method) => find_method(&pool, method),
            None => Ok(()),
        });
        match checked {
            Ok(()) => Some(text.into()),
            Err(detail) => {
                let hint = "write the output of `protoc --include_imports --descriptor_set_out` in Base64, or remove \
                            the key if the server has reflection";
                self.push(at.problem(GRPC_DESCRIPTORS, detail).hint(hint));
                None
            }
        }
    }
}

fn decode_descriptors(text: &str) -> Result<DescriptorPool, String> {
    let bytes =
        STANDARD.decode(text).map_err(|error| format!("the descriptor set is not Base64: {error}"))?;
    if bytes.len() > MAX_DESCRIPTOR_BYTES {
        let size = bytes.len();
        return Err(format!("the descriptor set has {size} bytes, and the limit is {MAX_DESCRIPTOR_BYTES}"));
    }
    DescriptorPool::decode(bytes.as_slice())
        .map_err(|error| format!("the descriptor set cannot be read: {error}"))
}

/// Checks that a method exists and is unary.
fn find_method(pool: &DescriptorPool, method: &str) -> Result<(), String> {
    let (service_name, name) = method.split_once('/').unwrap_or((method, ""));
    let Some(service) = pool.get_service_by_name(service_name) else {
        return Err(format!("the descriptor set has no service `{service_name}`"));
    };
    let found = service.methods().find(|method| method.name() == name);
    match found {
        None => Err(format!("the service `{service_name}` has no method `{name}` in the descriptor set")),
        Some(found) if found.is_client_streaming() || found.is_server_streaming() => {
            Err(format!("the method `{method}` is a stream, and a call sends one message and gets one"))
        }
        Some(_) => Ok(()),
    }
}

/// Checks a target that may be a single expression: `host:port`, or a URL without a path.
fn check_target(text: &str) -> Result<(), String> {
    if text.len() > MAX_TARGET_BYTES {
        return Err(format!("the target has more than {MAX_TARGET_BYTES} bytes"));
    }
    if text.contains(SECRET) {
        return Err(format!("a secret is the whole target: write only `{SECRET}name`"));
    }
    match text_template(text) {
        Ok(Template::Value(Json::String(target))) => {
            let url = if target.contains("://") { target } else { format!("http://{target}") };
            check_literal(&url)?;
            let has_path = url.parse::<http::Uri>().is_ok_and(|uri| uri.path() != "/" || uri.query().is_some());
            if has_path {
                return Err("the target has a path or a query: write only the scheme, the host and the port".to_owned());
            }
            Ok(())
        }
        Ok(Template::Text(_)) => Err(
            "the target contains an expression: an input could send the request elsewhere; write it out, or make the \
             whole target one expression"
                .to_owned(),
        ),
        // A single expression is checked when it is evaluated. A template that is not valid is reported with the
        // expressions.
        Ok(Template::Expression(_) | Template::Value(_) | Template::List(_) | Template::Map(_)) | Err(_) => Ok(()),
    }
}

/// Returns whether a text is `package.Service/Method`.
fn is_method(text: &str) -> bool {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    text.len() <= MAX_METHOD_BYTES
        && text
            .split_once('/')
            .is_some_and(|(service, method)| service.split('.').all(is_name) && is_name(method))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost_reflect::prost::Message as _;
    use prost_reflect::prost_types::{
        DescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
        ServiceDescriptorProto,
    };

    #[test]
    fn target_is_an_address_without_a_path() {
        for target in [
            "payments.example:443",
            "127.0.0.1:9101",
            "[::1]:9101",
            "https://payments.example",
            "http://payments.example:9101/",
            "${ input.target }",
        ] {
            assert_eq!(check_target(target), Ok(()), "{target}");
        }
        for (target, reason) in [
            ("ftp://payments.example", "scheme"),
            ("https://payments.example/a", "path"),
            ("https://payments.example?a=1", "path"),
            ("https://user:pw@payments.example", "credentials"),
            ("${ input.host }:443", "one expression"),
            ("https://${ input.host }", "one expression"),
            ("https://secret://a", "whole target"),
            ("", "not a URL"),
        ] {
            let detail = check_target(target).expect_err(target);
            assert!(detail.contains(reason), "{target}: {detail}");
        }
    }

    #[test]
    fn method_has_the_name_of_its_service() {
        for method in ["payments.v1.Payments/Charge", "Payments/Charge", "_a.B/c_1"] {
            assert!(is_method(method), "{method}");
        }
        for method in ["", "Charge", "payments.v1.Payments", "a/b/c", "a..b/C", "a/", "/a", "a b/C", "a-b/C"]
        {
            assert!(!is_method(method), "{method}");
        }
    }

    fn descriptors(client_streaming: bool) -> String {
        let method = MethodDescriptorProto {
            name: Some("Charge".to_owned()),
            input_type: Some(".payments.Empty".to_owned()),
            output_type: Some(".payments.Empty".to_owned()),
            client_streaming: Some(client_streaming),
            ..MethodDescriptorProto::default()
        };
        let file = FileDescriptorProto {
            name: Some("payments.proto".to_owned()),
            package: Some("payments".to_owned()),
            syntax: Some("proto3".to_owned()),
            message_type: vec![DescriptorProto {
                name: Some("Empty".to_owned()),
                ..DescriptorProto::default()
            }],
            service: vec![ServiceDescriptorProto {
                name: Some("Payments".to_owned()),
                method: vec![method],
                ..ServiceDescriptorProto::default()
            }],
            ..FileDescriptorProto::default()
        };
        STANDARD.encode(FileDescriptorSet { file: vec![file] }.encode_to_vec())
    }

    #[test]
    fn descriptor_set_has_the_unary_method() {
        let check =
            |text: &str, method: &str| decode_descriptors(text).and_then(|pool| find_method(&pool, method));
        assert_eq!(check(&descriptors(false), "payments.Payments/Charge"), Ok(()));
        for (text, method, reason) in [
            (descriptors(false), "payments.Payments/Refund", "no method `Refund`"),
            (descriptors(false), "payments.Other/Charge", "no service"),
            (descriptors(true), "payments.Payments/Charge", "is a stream"),
            ("%".to_owned(), "payments.Payments/Charge", "not Base64"),
            ("////".to_owned(), "payments.Payments/Charge", "cannot be read"),
        ] {
            let detail = check(&text, method).expect_err(reason);
            assert!(detail.contains(reason), "{detail}");
        }
    }
}
