//! The memory of a body while it is read. That of a secret is overwritten.
//!
//! The server's connection hands out frames that share its read buffer with the headers of the request. The buffer is not
//! ours, so it can be overwritten only through the frames, once nothing else refers to it: the headers and the address of
//! the request are replaced by copies, and a connection over HTTP/1 is closed after the response. The copy that the handler
//! gets is overwritten when its last reference is dropped, whether or not the handler reads it.

use axum::extract::{MatchedPath, OriginalUri, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Uri};
use bytes::{Bytes, BytesMut};
use std::time::Duration;
use zeroize::{Zeroize, Zeroizing};

/// The operations whose bodies are secrets.
const SECRETS: [(Method, &str); 2] =
    [(Method::PUT, "/api/v1/secrets/{name}"), (Method::POST, "/api/v1/session")];
/// Frames that are kept until the end of the body. A client can send any number of tiny ones.
const MAX_FRAMES: usize = 1024;
/// The interval and the number of the attempts to overwrite a buffer. A connection that is not closed takes another buffer
/// sooner or later.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(20);
const ATTEMPTS: usize = 30_000;

/// Returns whether the body of a request is a secret.
pub(super) fn is_secret(request: &Request) -> bool {
    let route = request.extensions().get::<MatchedPath>();
    let is = |(method, known): &(Method, &str)| {
        request.method() == method && route.is_some_and(|route| route.as_str() == *known)
    };
    SECRETS.iter().any(is)
}

/// The part of a body that was read.
pub(super) enum BodyBuffer {
    Plain(BytesMut),
    Secret { kept: Zeroizing<Vec<u8>>, frames: Vec<Bytes> },
}

impl BodyBuffer {
    pub(super) fn new(is_secret: bool) -> Self {
        if is_secret {
            Self::Secret { kept: Zeroizing::default(), frames: Vec::new() }
        } else {
            Self::Plain(BytesMut::new())
        }
    }

    pub(super) fn push(&mut self, data: Bytes) {
        match self {
            Self::Plain(kept) => kept.extend_from_slice(&data),
            Self::Secret { kept, frames } => {
                let length = kept.len().saturating_add(data.len());
                if length > kept.capacity() {
                    // A buffer that grows by itself leaves a copy behind.
                    let capacity = length.max(kept.capacity().saturating_mul(2));
                    let mut larger = Zeroizing::new(Vec::with_capacity(capacity));
                    larger.extend_from_slice(kept);
                    *kept = larger;
                }
                kept.extend_from_slice(&data);
                if frames.len() >= MAX_FRAMES {
                    *frames = overwrite(std::mem::take(frames));
                    frames.truncate(MAX_FRAMES / 2);
                }
                frames.push(data);
            }
        }
    }

    /// Returns the body, and the frames that it was read from if they are to be overwritten.
    pub(super) fn into_parts(self) -> (Bytes, Vec<Bytes>) {
        match self {
            Self::Plain(kept) => (kept.freeze(), Vec::new()),
            Self::Secret { kept, frames } => (Bytes::from_owner(kept), frames),
        }
    }
}

/// Returns the head of a request as a copy that shares no memory with the buffer of its connection.
pub(super) fn detached(mut parts: Parts) -> Parts {
    let mut headers = HeaderMap::with_capacity(parts.headers.keys_len());
    for (name, value) in &parts.headers {
        if let Ok(mut copy) = HeaderValue::from_bytes(value.as_bytes()) {
            copy.set_sensitive(value.is_sensitive());
            // A name may share the buffer as well.
            if let Ok(name) = axum::http::HeaderName::from_bytes(name.as_str().as_bytes()) {
                headers.append(name, copy);
            }
        }
    }
    parts.headers = headers;
    let original = parts.extensions.remove::<OriginalUri>();
    if let Some(copy) = original.and_then(|original| copy_of(&original.0)) {
        parts.extensions.insert(OriginalUri(copy));
    }
    if let Some(copy) = copy_of(&parts.uri) {
        parts.uri = copy;
    }
    parts
}

fn copy_of(uri: &Uri) -> Option<Uri> {
    Uri::try_from(uri.to_string()).ok()
}

/// Overwrites the frames of a body as soon as the connection no longer refers to their memory: when it has taken another
/// buffer, or is closed.
pub(super) fn overwrite_frames(frames: Vec<Bytes>) {
    let mut frames = overwrite(frames);
    if frames.is_empty() {
        return;
    }
    tokio::spawn(async move {
        for _ in 0..ATTEMPTS {
            tokio::time::sleep(ATTEMPT_INTERVAL).await;
            frames = overwrite(frames);
            if frames.is_empty() {
                return;
            }
        }
        tracing::warn!(frames = frames.len(), "buffer of a connection was not overwritten");
    });
}

/// Overwrites the frames that nothing else refers to, and returns the others.
fn overwrite(frames: Vec<Bytes>) -> Vec<Bytes> {
    let shared = frames.into_iter().filter_map(|frame| match frame.try_into_mut() {
        Ok(mut own) => {
            let bytes: &mut [u8] = &mut own;
            bytes.zeroize();
            None
        }
        Err(shared) => Some(shared),
    });
    shared.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_of_a_secret_is_joined_and_its_frames_are_kept() {
        for is_secret in [false, true] {
            let mut buffer = BodyBuffer::new(is_secret);
            for part in ["{\"value\":", "\"hunter", "2\"}"] {
                buffer.push(Bytes::copy_from_slice(part.as_bytes()));
            }
            let (body, frames) = buffer.into_parts();
            assert_eq!(&*body, br#"{"value":"hunter2"}"#);
            assert_eq!(frames.len(), if is_secret { 3 } else { 0 });
        }
    }

    #[test]
    fn number_of_frames_is_bounded() {
        let mut buffer = BodyBuffer::new(true);
        for _ in 0..10 * MAX_FRAMES {
            buffer.push(Bytes::copy_from_slice(b"x"));
        }
        let (body, frames) = buffer.into_parts();
        assert_eq!(body.len(), 10 * MAX_FRAMES);
        assert!(frames.len() <= MAX_FRAMES);
    }

    #[tokio::test]
    async fn frame_is_overwritten_once_its_request_is_detached() {
        // As in a connection: the head and the body share one buffer.
        let mut read = BytesMut::from(&b"PUT /api/v1/secrets/a gck_1 hunter2"[..]);
        let head = read.split_to(28).freeze();
        let frame = read.split_to(7).freeze();
        let mut request = axum::http::Request::new(());
        let value = HeaderValue::from_maybe_shared(head.slice(22..27)).unwrap();
        request.headers_mut().insert("authorization", value);
        *request.uri_mut() = Uri::from_maybe_shared(head.slice(4..21)).unwrap();
        let uri = request.uri().clone();
        request.extensions_mut().insert(OriginalUri(uri));
        drop((head, read));
        let shared = overwrite(vec![frame]);
        assert_eq!(shared.len(), 1, "the request refers to the buffer");
        let parts = detached(request.into_parts().0);
        assert_eq!(parts.uri.path(), "/api/v1/secrets/a");
        assert_eq!(parts.headers["authorization"], "gck_1");
        assert_eq!(parts.extensions.get::<OriginalUri>().unwrap().0.path(), "/api/v1/secrets/a");
        assert!(overwrite(shared).is_empty());
    }
}
