//! The types of messages: from the definition, or from the reflection of the server.

use super::messages::frame;
use super::status::CallStatus;
use super::{BodyLimits, GrpcRequest, no_types, plain_request, read_body};
use crate::calls::CallError;
use crate::http_client::HttpClient;
use crate::http_participant::no_response;
use crate::stated_outcome::StatedOutcome;
use crate::task::Task;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use goconductor_transition::clock;
use lru::LruCache;
use parking_lot::Mutex;
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::FileDescriptorProto;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};
use tonic::Code;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

/// Methods of reflection. The messages of both versions are the same.
const REFLECTION: [&str; 2] = [
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];
/// How long the types of a server are used without asking it again.
const MAX_AGE: Duration = Duration::from_secs(600);
/// Methods whose types are kept.
const KEPT_METHODS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);
/// Maximum files of a server's types.
const MAX_FILES: usize = 256;
/// Maximum bytes of one answer of reflection.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// Maximum bytes of all answers to the questions about one method.
const MAX_TYPES_BYTES: usize = 4 << 20;

/// The types of the methods that were called last.
#[derive(Debug)]
pub(super) struct Descriptors {
    client: HttpClient,
    methods: Mutex<LruCache<[u8; 32], CachedMethod>>,
}

#[derive(Debug)]
struct CachedMethod {
    method: MethodDescriptor,
    since: Instant,
}

impl Descriptors {
    pub(super) fn new(client: HttpClient) -> Self {
        Self { client, methods: Mutex::new(LruCache::new(KEPT_METHODS)) }
    }

    /// Returns a method whose types are known.
    pub(super) fn known(&self, request: &GrpcRequest<'_>) -> Option<MethodDescriptor> {
        let mut methods = self.methods.lock();
        let known = methods.get(&key(request))?;
        // The types in a definition do not change.
        let is_fresh = request.call.descriptor_set.is_some() || known.since.elapsed() < MAX_AGE;
        is_fresh.then(|| known.method.clone())
    }

    /// Reads the types of a method, and keeps them.
    ///
    /// # Errors
    /// Returns [`CallError::Invalid`] if there is no such unary method, and [`CallError::Failed`] if the server did not report
    /// it.
    pub(super) async fn read(
        &self,
        task: &Task,
        request: &GrpcRequest<'_>,
    ) -> Result<MethodDescriptor, CallError> {
        let pool = match &request.call.descriptor_set {
            Some(text) => {
                let invalid = |error: String| CallError::Invalid(format!("the descriptor set: {error}"));
                let bytes = STANDARD.decode(text.as_bytes()).map_err(|error| invalid(error.to_string()))?;
                DescriptorPool::decode(bytes.as_slice()).map_err(|error| invalid(error.to_string()))?
            }
            None => Reflection { client: &self.client, task, request }.pool().await?,
        };
        let method = find(&pool, &request.call.method).map_err(CallError::Invalid)?;
        let known = CachedMethod { method: method.clone(), since: Instant::now() };
        self.methods.lock().put(key(request), known);
        Ok(method)
    }
}

/// Returns the key of a request's types. It is a digest, because a target can be a secret.
fn key(request: &GrpcRequest<'_>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let server = request.server.to_string();
    let source = request.call.descriptor_set.as_deref().unwrap_or(&server);
    for part in [request.namespace, source, request.call.method.as_str()] {
        hasher.update(&part.len().to_le_bytes()).update(part.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// Returns a unary method.
fn find(pool: &DescriptorPool, name: &str) -> Result<MethodDescriptor, String> {
    let (service_name, method_name) = name.split_once('/').unwrap_or((name, ""));
    let service = pool.get_service_by_name(service_name);
    let service = service.ok_or_else(|| format!("there is no service {service_name}"))?;
    let method = service.methods().find(|method| method.name() == method_name);
    let method = method.ok_or_else(|| format!("the service {service_name} has no method {method_name}"))?;
    if method.is_client_streaming() || method.is_server_streaming() {
        return Err(format!("the method {name} is a stream, and a call sends one message and gets one"));
    }
    Ok(method)
}

/// The questions to one server about its types.
struct Reflection<'a> {
    client: &'a HttpClient,
    task: &'a Task,
    request: &'a GrpcRequest<'a>,
}

impl Reflection<'_> {
    /// Returns the types of the service, with all files that they refer to.
    async fn pool(&self) -> Result<DescriptorPool, CallError> {
        // The types of Google that every client has.
        let mut pool = DescriptorPool::global();
        let service = self.request.call.method.split('/').next().unwrap_or_default().to_owned();
        let mut questions = vec![MessageRequest::FileContainingSymbol(service)];
        let mut files = BTreeMap::new();
        let mut asked = BTreeSet::new();
        let mut left = MAX_TYPES_BYTES;
        while !questions.is_empty() {
            for answer in self.ask(&questions, left).await? {
                left = left.saturating_sub(answer.encoded_len());
                for file in files_of(answer)? {
                    files.insert(file.name().to_owned(), file);
                }
            }
            let missing = missing(&files, &pool);
            // Each of them is a question, and can have an answer.
            if files.len().saturating_add(missing.len()) > MAX_FILES {
                return Err(CallError::Invalid(format!(
                    "the types of the server have more than {MAX_FILES} files"
                )));
            }
            if let Some(name) = missing.iter().find(|name| asked.contains(*name)) {
                let reason = format!("the reflection of the server does not contain {name}");
                return Err(CallError::Invalid(reason));
            }
            asked.extend(missing.iter().cloned());
            questions = missing.into_iter().map(MessageRequest::FileByFilename).collect();
        }
        let own = files.into_values().filter(|file| pool_lacks(&DescriptorPool::global(), file.name()));
        pool.add_file_descriptor_protos(own).map_err(|error| {
            CallError::Invalid(format!("the types of the server cannot be read: {error}"))
        })?;
        Ok(pool)
    }

    /// Asks the server, by the version of reflection that it has. The answers may have `left` bytes.
    async fn ask(
        &self,
        questions: &[MessageRequest],
        left: usize,
    ) -> Result<Vec<ServerReflectionResponse>, CallError> {
        for method in REFLECTION {
            if let Some(answers) = self.ask_by(method, questions, left).await? {
                return Ok(answers);
            }
        }
        let reason = "the server has no reflection: write the types into `descriptor_set`";
        Err(CallError::Invalid(reason.to_owned()))
    }

    /// Asks the server by one method. Returns `None` if it does not have the method.
    async fn ask_by(
        &self,
        method: &str,
        questions: &[MessageRequest],
        left: usize,
    ) -> Result<Option<Vec<ServerReflectionResponse>>, CallError> {
        let host = self.request.server.host().unwrap_or_default();
        let framed = questions.iter().map(|question| {
            let message_request = Some(question.clone());
            frame(&ServerReflectionRequest { host: host.to_owned(), message_request }.encode_to_vec())
        });
        let body = framed.collect::<Vec<_>>().concat();
        let request = plain_request(self.request, method, body, self.task.timeout)?;
        let response = match self.client.send_http2(request).await {
            Ok(response) => response,
            // Nothing was sent to the method, so no failure of this request leaves it in doubt.
            Err(error) => {
                let outcome = no_response(self.task, &self.request.target, &error);
                return Err(CallError::Failed(outcome));
            }
        };
        let http_status = response.status();
        let (parts, body) = response.into_parts();
        let limits = BodyLimits { message: MAX_ANSWER_BYTES, messages: questions.len(), bytes: left };
        let read = read_body(body, limits, &self.task.payload_slot).await;
        let read = read.map_err(|error| no_types(&format!("reflection of the server: {error}")))?;
        let Some(status) = CallStatus::read(&parts.headers, read.trailers.as_ref(), clock::now()) else {
            return Err(no_types(&format!(
                "reflection of the server: HTTP {http_status} without a gRPC status"
            )));
        };
        if status.code() == Code::Unimplemented {
            return Ok(None);
        }
        if status.stated_outcome() != StatedOutcome::Done {
            return Err(no_types(&format!("reflection of the server: {}", status.failure().message)));
        }
        let answers = read.messages.iter().map(|bytes| ServerReflectionResponse::decode(bytes.as_slice()));
        let answers = answers.collect::<Result<Vec<_>, _>>();
        answers.map(Some).map_err(|error| no_types(&format!("reflection of the server: {error}")))
    }
}

/// Returns the files of an answer.
fn files_of(answer: ServerReflectionResponse) -> Result<Vec<FileDescriptorProto>, CallError> {
    let invalid = |reason: &str| CallError::Invalid(format!("reflection of the server: {reason}"));
    match answer.message_response {
        Some(MessageResponse::FileDescriptorResponse(files)) => {
            let files = files.file_descriptor_proto.iter();
            let files = files.map(|bytes| FileDescriptorProto::decode(bytes.as_slice()));
            files.collect::<Result<Vec<_>, _>>().map_err(|error| invalid(&error.to_string()))
        }
        Some(MessageResponse::ErrorResponse(error)) => Err(invalid(&error.error_message)),
        Some(MessageResponse::AllExtensionNumbersResponse(_) | MessageResponse::ListServicesResponse(_))
        | None => Err(invalid("the answer has no file")),
    }
}

/// Returns the names of files that others refer to and that are not known.
fn missing(files: &BTreeMap<String, FileDescriptorProto>, pool: &DescriptorPool) -> Vec<String> {
    let named = files.values().flat_map(|file| &file.dependency).collect::<BTreeSet<_>>();
    let lacks = |name: &&String| !files.contains_key(*name) && pool_lacks(pool, name);
    named.into_iter().filter(lacks).cloned().collect()
}

fn pool_lacks(pool: &DescriptorPool, file: &str) -> bool {
    pool.get_file_by_name(file).is_none()
}

#[cfg(test)]
mod tests {
    use super::{DescriptorPool, FileDescriptorProto, find, missing};
    use std::collections::BTreeMap;

    #[test]
    fn missing_files_are_those_that_no_client_has() {
        let file = FileDescriptorProto {
            name: Some("a.proto".to_owned()),
            dependency: ["b.proto", "google/protobuf/timestamp.proto", "a.proto"].map(str::to_owned).to_vec(),
            ..FileDescriptorProto::default()
        };
        let files = BTreeMap::from([("a.proto".to_owned(), file)]);
        assert_eq!(missing(&files, &DescriptorPool::global()), ["b.proto"]);
    }

    #[test]
    fn method_of_reflection_is_a_stream() {
        let set = tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET;
        let pool = DescriptorPool::decode(set).unwrap();
        let reason = find(&pool, super::REFLECTION[0]).unwrap_err();
        assert!(reason.contains("is a stream"), "{reason}");
        assert!(find(&pool, "a.B/C").unwrap_err().contains("no service a.B"));
    }
}
