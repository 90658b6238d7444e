//! A session on etcd is a lease. An entry is a key `…/NAME/ID` with that lease.

use super::api::kv_client::KvClient;
use super::api::lease_client::LeaseClient;
use super::api::watch_client::WatchClient;
use super::api::{
    self, compare, event, range_request, request_op, response_op, watch_create_request, watch_request,
};
use super::client::Client;
use crate::candidate_queue::{CandidateRecord, Entry, QueueSession, decoded, encoded};
use crate::clock::wall_clock_ms;
use crate::{Error, FencingToken, Leader};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tonic::Response;

/// A session on etcd.
#[derive(Debug)]
pub(super) struct EtcdSession {
    client: Arc<Client>,
    prefix: String,
    lease: i64,
    ttl: Duration,
}

impl EtcdSession {
    pub(super) async fn open(client: Arc<Client>, prefix: String, lease: Duration) -> Result<Self, Error> {
        let seconds = lease.as_secs() + u64::from(lease.subsec_nanos() > 0);
        let ttl = i64::try_from(seconds.max(1)).unwrap_or(i64::MAX);
        let granted = client
            .call(|call| async move {
                let request = call.request(api::LeaseGrantRequest { ttl });
                LeaseClient::new(call.channel).lease_grant(request).await
            })
            .await?;
        let ttl = Duration::from_secs(u64::try_from(granted.ttl).unwrap_or(0).max(1));
        let session = Self { client, prefix, lease: granted.id, ttl };
        // Check the permissions of the user now, not at the first campaign.
        session.leaders(Some("")).await?;
        Ok(session)
    }

    fn queue(&self, name: &str) -> String {
        format!("{}/{}/", self.prefix, encoded(name))
    }

    async fn range(&self, range: api::RangeRequest) -> Result<api::RangeResponse, Error> {
        self.client
            .call(|call| {
                let request = call.request(range.clone());
                async move { KvClient::new(call.channel).range(request).await }
            })
            .await
    }

    async fn transaction(&self, transaction: api::TxnRequest) -> Result<api::TxnResponse, Error> {
        self.client
            .call(|call| {
                let request = call.request(transaction.clone());
                async move { KvClient::new(call.channel).txn(request).await }
            })
            .await
    }

    async fn delete(&self, key: &str) -> Result<bool, Error> {
        let deleted = self
            .client
            .call(|call| {
                let request = call.request(api::DeleteRangeRequest { key: key.into() });
                async move { KvClient::new(call.channel).delete_range(request).await }
            })
            .await?;
        Ok(deleted.deleted > 0)
    }

    /// Waits until a key may have been deleted after a revision, or until the watch ends.
    async fn await_deletion(&self, key: &[u8], since_revision: i64) -> Result<(), Error> {
        let create = api::WatchCreateRequest {
            key: key.to_vec(),
            start_revision: since_revision + 1,
            filters: vec![watch_create_request::FilterType::Noput.into()],
        };
        let request =
            api::WatchRequest { request_union: Some(watch_request::RequestUnion::CreateRequest(create)) };
        let mut events = self
            .client
            .call(|call| {
                // Ending the request stream would end the watch, so it stays open after the first message.
                let message = tokio_stream::StreamExt::chain(
                    tokio_stream::once(request.clone()),
                    tokio_stream::pending::<api::WatchRequest>(),
                );
                let request = call.stream(message);
                async move { WatchClient::new(call.channel).watch(request).await }
            })
            .await?;
        loop {
            match events.message().await {
                Ok(Some(update)) if update.canceled => return Ok(()),
                Ok(Some(update))
                    if update.events.iter().any(|event| event.r#type() == event::EventType::Delete) =>
                {
                    return Ok(());
                }
                Ok(Some(_)) => {}
                // The caller checks the key again, possibly on another member.
                Ok(None) | Err(_) => return Ok(()),
            }
        }
    }
}

fn one(key: &str) -> api::RangeRequest {
    api::RangeRequest { key: key.into(), ..api::RangeRequest::default() }
}

/// All keys with this prefix.
fn all(prefix: &str) -> api::RangeRequest {
    let mut end: Vec<u8> = prefix.into();
    // A prefix ends with a slash, which has a successor byte.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    api::RangeRequest {
        key: prefix.into(),
        range_end: end,
        sort_order: range_request::SortOrder::Ascend.into(),
        sort_target: range_request::SortTarget::Create.into(),
        ..api::RangeRequest::default()
    }
}

/// The condition that a key was created by this revision. Revision 0 means that the key does not exist.
fn created_at_revision(key: &str, revision: i64) -> api::Compare {
    api::Compare {
        result: compare::CompareResult::Equal.into(),
        target: compare::CompareTarget::Create.into(),
        key: key.into(),
        target_union: Some(compare::TargetUnion::CreateRevision(revision)),
    }
}

fn revision(header: Option<&api::ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

/// Converts a revision to a token.
fn token_number(name: &str, revision: i64) -> Result<u64, Error> {
    match u64::try_from(revision) {
        Ok(number) if number > 0 => Ok(number),
        Ok(_) | Err(_) => Err(Error::TokensExhausted { name: name.to_owned() }),
    }
}

#[async_trait]
impl QueueSession for EtcdSession {
    fn lease(&self) -> Duration {
        self.ttl
    }

    async fn keep_alive(&self) -> Result<bool, Error> {
        let id = self.lease;
        let answer = self
            .client
            .call(|call| async move {
                let request = call.request(tokio_stream::once(api::LeaseKeepAliveRequest { id }));
                let mut answers =
                    LeaseClient::new(call.channel).lease_keep_alive(request).await?.into_inner();
                let answer = answers.message().await?;
                answer
                    .map(Response::new)
                    .ok_or_else(|| tonic::Status::unavailable("no response to a heartbeat"))
            })
            .await?;
        Ok(answer.ttl > 0)
    }

    async fn await_end(&self) {
        // Only the response to a heartbeat reports the end of the lease.
        std::future::pending().await
    }

    async fn enqueue(&self, name: &str, id: &str, candidate: &str, _is_retry: bool) -> Result<Entry, Error> {
        let key = format!("{}{id}", self.queue(name));
        let value = CandidateRecord::of(candidate).to_json();
        let put = api::PutRequest { key: key.as_str().into(), value, lease: self.lease };
        let request = api::TxnRequest {
            compare: vec![created_at_revision(&key, 0)],
            success: vec![api::RequestOp { request: Some(request_op::Request::RequestPut(put)) }],
            failure: vec![api::RequestOp { request: Some(request_op::Request::RequestRange(one(&key))) }],
        };
        let done = self.transaction(request).await?;
        let made = if done.succeeded {
            revision(done.header.as_ref())
        } else {
            // An earlier request created the key.
            match done.responses.into_iter().next().and_then(|op| op.response) {
                Some(response_op::Response::ResponseRange(range)) => {
                    range.kvs.first().map_or(0, |found| found.create_revision)
                }
                Some(response_op::Response::ResponsePut(_)) | None => 0,
            }
        };
        Ok(Entry { name: name.to_owned(), key, sequence: token_number(name, made)? })
    }

    async fn await_head(&self, entry: &Entry) -> Result<bool, Error> {
        loop {
            let before = api::RangeRequest {
                limit: 1,
                sort_order: range_request::SortOrder::Descend.into(),
                max_create_revision: i64::try_from(entry.sequence).unwrap_or(i64::MAX) - 1,
                ..all(&self.queue(&entry.name))
            };
            let found = self.range(before).await?;
            let now = revision(found.header.as_ref());
            let Some(before) = found.kvs.first() else { return Ok(true) };
            self.await_deletion(&before.key, now).await?;
        }
    }

    async fn begin_term(&self, entry: &Entry, candidate: &str) -> Result<Option<i64>, Error> {
        let since_ms = wall_clock_ms();
        let value = CandidateRecord { since_ms: Some(since_ms), ..CandidateRecord::of(candidate) }.to_json();
        let put = api::PutRequest { key: entry.key.as_str().into(), value, lease: self.lease };
        let request = api::TxnRequest {
            compare: vec![created_at_revision(&entry.key, i64::try_from(entry.sequence).unwrap_or(i64::MAX))],
            success: vec![api::RequestOp { request: Some(request_op::Request::RequestPut(put)) }],
            failure: Vec::new(),
        };
        Ok(self.transaction(request).await?.succeeded.then_some(since_ms))
    }

    async fn await_removal(&self, entry: &Entry) -> Result<(), Error> {
        loop {
            let found = self.range(one(&entry.key)).await?;
            if found.kvs.is_empty() {
                return Ok(());
            }
            self.await_deletion(entry.key.as_bytes(), revision(found.header.as_ref())).await?;
        }
    }

    async fn remove(&self, entry: &Entry) -> Result<bool, Error> {
        self.delete(&entry.key).await
    }

    async fn remove_by_id(&self, name: &str, id: &str) -> Result<(), Error> {
        self.delete(&format!("{}{id}", self.queue(name))).await.map(drop)
    }

    async fn leaders(&self, name: Option<&str>) -> Result<Vec<(Leader, Entry)>, Error> {
        let keys = match name {
            Some(name) => self.queue(name),
            None => format!("{}/", self.prefix),
        };
        let found = self.range(all(&keys)).await?;
        // The keys are ordered by creation. The first key of each name belongs to its leader or its next leader.
        let mut first_keys: BTreeMap<String, Option<(Leader, Entry)>> = BTreeMap::new();
        for each in found.kvs {
            let Some(name) = self.name_of(&each.key) else { continue };
            if !first_keys.contains_key(&name) {
                first_keys.insert(name.clone(), leader(&name, each)?);
            }
        }
        Ok(first_keys.into_values().flatten().collect())
    }

    async fn close(&self) {
        let id = self.lease;
        let revoked = self.client.call(|call| async move {
            let request = call.request(api::LeaseRevokeRequest { id });
            LeaseClient::new(call.channel).lease_revoke(request).await
        });
        if let Err(error) = revoked.await {
            tracing::debug!(%error, "the lease was left to expire");
        }
    }
}

impl EtcdSession {
    fn name_of(&self, key: &[u8]) -> Option<String> {
        let key = std::str::from_utf8(key).ok()?;
        let (name, _) = key.strip_prefix(&self.prefix)?.strip_prefix('/')?.split_once('/')?;
        decoded(name)
    }
}

/// The leader according to the first key of a name, or `None` before the start of its term.
fn leader(name: &str, found: api::KeyValue) -> Result<Option<(Leader, Entry)>, Error> {
    let Some(CandidateRecord { candidate, since_ms: Some(since_ms) }) =
        CandidateRecord::of_json(&found.value)
    else {
        return Ok(None);
    };
    let number = token_number(name, found.create_revision)?;
    let Ok(key) = String::from_utf8(found.key) else { return Ok(None) };
    let leader = Leader { name: name.to_owned(), candidate, token: FencingToken(number), since_ms };
    Ok(Some((leader, Entry { name: name.to_owned(), key, sequence: number })))
}
