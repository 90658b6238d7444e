//! `LockService`.

use super::answer::{each, lock, text};
use super::{Door, Rest, refusal};
use crate::routes::locks::check_key;
use axum::http::Method;
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::lock_service_server::LockService;
use serde_json::{Value, json};
use std::time::Duration;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

/// A lease as REST has it; one that is none is refused there.
fn ttl(of: Option<prost_types::Duration>) -> String {
    let ttl = of.and_then(|ttl| Duration::try_from(ttl).ok()).unwrap_or_default();
    format!("{}ms", ttl.as_millis())
}

fn with_token(mut body: Value, token: Option<u64>) -> Value {
    if let Some(fields) = body.as_object_mut() {
        fields.extend(token.map(|token| ("fencing_token".to_owned(), token.into())));
    }
    body
}

/// A key that can stand in a path.
fn checked(key: &str) -> Result<String, Status> {
    check_key(key).map_err(refusal::of)
}

#[tonic::async_trait]
impl LockService for Door {
    async fn acquire_lock(
        &self,
        request: Request<wire::AcquireLockRequest>,
    ) -> Answer<wire::AcquireLockResponse> {
        let wire::AcquireLockRequest { key, owner, ttl: lease } = request.get_ref();
        let body = json!({"owner": owner, "ttl": ttl(*lease)});
        let rest = Rest::of(Method::POST, &["locks", &checked(key)?, "acquire"]).json(&body);
        let (_, body) = self.call(&request, rest).await?;
        Ok(Response::new(wire::AcquireLockResponse { lock: Some(lock(&body)) }))
    }

    async fn renew_lock(&self, request: Request<wire::RenewLockRequest>) -> Answer<wire::RenewLockResponse> {
        let wire::RenewLockRequest { key, owner, fencing_token, ttl: lease } = request.get_ref();
        let body = with_token(json!({"owner": owner, "ttl": ttl(*lease)}), *fencing_token);
        let rest = Rest::of(Method::POST, &["locks", &checked(key)?, "renew"]).json(&body);
        let (_, body) = self.call(&request, rest).await?;
        Ok(Response::new(wire::RenewLockResponse { lock: Some(lock(&body)) }))
    }

    async fn release_lock(
        &self,
        request: Request<wire::ReleaseLockRequest>,
    ) -> Answer<wire::ReleaseLockResponse> {
        let wire::ReleaseLockRequest { key, owner, fencing_token } = request.get_ref();
        let body = with_token(json!({"owner": owner}), *fencing_token);
        let rest = Rest::of(Method::POST, &["locks", &checked(key)?, "release"]).json(&body);
        let (_, body) = self.call(&request, rest).await?;
        let released = body.get("released").and_then(Value::as_bool).unwrap_or(false);
        Ok(Response::new(wire::ReleaseLockResponse { released }))
    }

    async fn list_locks(&self, request: Request<wire::ListLocksRequest>) -> Answer<wire::ListLocksResponse> {
        let wire::ListLocksRequest { page_size, page_token } = request.get_ref();
        let mut rest = Rest::get(&["locks"]).query("page_token", page_token);
        if *page_size > 0 {
            rest = rest.query("page_size", page_size);
        }
        let (_, body) = self.call(&request, rest).await?;
        let locks = each(&body, "locks").map(lock).collect();
        let next_page_token = text(&body, "next_page_token");
        Ok(Response::new(wire::ListLocksResponse { locks, next_page_token }))
    }
}
