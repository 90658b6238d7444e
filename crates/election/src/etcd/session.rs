//! A session is a lease; an entry is a key `…/NAME/ID` that hangs on it.

use super::api::kv_client::KvClient;
use super::api::lease_client::LeaseClient;
use super::api::watch_client::WatchClient;
use super::api::{
    self, compare, event, range_request, request_op, response_op, watch_create_request, watch_request,
};
use super::client::Client;
use crate::clock::wall_clock_ms;
use crate::line::{Entry, Record, Session, decoded, encoded};
use crate::{Error, FencingToken, Leader};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tonic::Response;

/// A session with etcd.
#[derive(Debug)]
pub(super) struct EtcdSession {
    client: Arc<Client>,
    prefix: String,
    lease: i64,
    lives: Duration,
}

impl EtcdSession {
    pub(super) async fn open(client: Arc<Client>, prefix: String, lease: Duration) -> Result<Self, Error> {
        let seconds = lease.as_secs() + u64::from(lease.subsec_nanos() > 0);
        let ttl = i64::try_from(seconds.max(1)).unwrap_or(i64::MAX);
        let granted = client
            .call(|way| async move {
                let request = way.request(api::LeaseGrantRequest { ttl });
                LeaseClient::new(way.channel).lease_grant(request).await
            })
            .await?;
        let lives = Duration::from_secs(u64::try_from(granted.ttl).unwrap_or(0).max(1));
        let session = Self { client, prefix, lease: granted.id, lives };
        // What this user may not do is said now, and not when somebody stands.
        session.leaders(Some("")).await?;
        Ok(session)
    }

    fn line(&self, name: &str) -> String {
        format!("{}/{}/", self.prefix, encoded(name))
    }

    async fn range(&self, range: api::RangeRequest) -> Result<api::RangeResponse, Error> {
        self.client
            .call(|way| {
                let request = way.request(range.clone());
                async move { KvClient::new(way.channel).range(request).await }
            })
            .await
    }

    async fn transaction(&self, transaction: api::TxnRequest) -> Result<api::TxnResponse, Error> {
        self.client
            .call(|way| {
                let request = way.request(transaction.clone());
                async move { KvClient::new(way.channel).txn(request).await }
            })
            .await
    }

    async fn delete(&self, key: &str) -> Result<bool, Error> {
        let deleted = self
            .client
            .call(|way| {
                let request = way.request(api::DeleteRangeRequest { key: key.into() });
                async move { KvClient::new(way.channel).delete_range(request).await }
            })
            .await?;
        Ok(deleted.deleted > 0)
    }

    /// Waits until a key may have been deleted since a revision; or until that can't be heard any more.
    async fn until_deleted(&self, key: &[u8], since_revision: i64) -> Result<(), Error> {
        let create = api::WatchCreateRequest {
            key: key.to_vec(),
            start_revision: since_revision + 1,
            filters: vec![watch_create_request::FilterType::Noput.into()],
        };
        let request =
            api::WatchRequest { request_union: Some(watch_request::RequestUnion::CreateRequest(create)) };
        let mut events = self
            .client
            .call(|way| {
                // A stream that ends on this side ends the watch: nothing is said after the first message.
                let said = tokio_stream::StreamExt::chain(
                    tokio_stream::once(request.clone()),
                    tokio_stream::pending::<api::WatchRequest>(),
                );
                let request = way.stream(said);
                async move { WatchClient::new(way.channel).watch(request).await }
            })
            .await?;
        loop {
            match events.message().await {
                Ok(Some(told)) if told.canceled => return Ok(()),
                Ok(Some(told))
                    if told.events.iter().any(|event| event.r#type() == event::EventType::Delete) =>
                {
                    return Ok(());
                }
                Ok(Some(_)) => {}
                // Whoever asked looks for himself, by another member if need be.
                Ok(None) | Err(_) => return Ok(()),
            }
        }
    }
}

fn one(key: &str) -> api::RangeRequest {
    api::RangeRequest { key: key.into(), ..api::RangeRequest::default() }
}

/// All keys that begin so.
fn all(prefix: &str) -> api::RangeRequest {
    let mut end: Vec<u8> = prefix.into();
    // Prefixes end with a slash, which has a next byte.
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

/// That a key was made by this revision; 0: that there is none.
fn made_by(key: &str, revision: i64) -> api::Compare {
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

/// The revision as a token.
fn number(name: &str, revision: i64) -> Result<u64, Error> {
    match u64::try_from(revision) {
        Ok(number) if number > 0 => Ok(number),
        Ok(_) | Err(_) => Err(Error::TokensExhausted { name: name.to_owned() }),
    }
}

#[async_trait]
impl Session for EtcdSession {
    fn lease(&self) -> Duration {
        self.lives
    }

    async fn beat(&self) -> Result<bool, Error> {
        let id = self.lease;
        let answer = self
            .client
            .call(|way| async move {
                let request = way.request(tokio_stream::once(api::LeaseKeepAliveRequest { id }));
                let mut answers = LeaseClient::new(way.channel).lease_keep_alive(request).await?.into_inner();
                let answer = answers.message().await?;
                answer
                    .map(Response::new)
                    .ok_or_else(|| tonic::Status::unavailable("no answer to a heartbeat"))
            })
            .await?;
        Ok(answer.ttl > 0)
    }

    async fn ended(&self) {
        // Nothing but the answer to a heartbeat tells it.
        std::future::pending().await
    }

    async fn stand(&self, name: &str, id: &str, candidate: &str, _again: bool) -> Result<Entry, Error> {
        let key = format!("{}{id}", self.line(name));
        let value = Record::of(candidate).to_json();
        let put = api::PutRequest { key: key.as_str().into(), value, lease: self.lease };
        let asked = api::TxnRequest {
            compare: vec![made_by(&key, 0)],
            success: vec![api::RequestOp { request: Some(request_op::Request::RequestPut(put)) }],
            failure: vec![api::RequestOp { request: Some(request_op::Request::RequestRange(one(&key))) }],
        };
        let done = self.transaction(asked).await?;
        let made = if done.succeeded {
            revision(done.header.as_ref())
        } else {
            // It was asked for twice, and had been made by the first.
            match done.responses.into_iter().next().and_then(|op| op.response) {
                Some(response_op::Response::ResponseRange(range)) => {
                    range.kvs.first().map_or(0, |found| found.create_revision)
                }
                Some(response_op::Response::ResponsePut(_)) | None => 0,
            }
        };
        Ok(Entry { name: name.to_owned(), key, number: number(name, made)? })
    }

    async fn until_first(&self, entry: &Entry) -> Result<bool, Error> {
        loop {
            let before = api::RangeRequest {
                limit: 1,
                sort_order: range_request::SortOrder::Descend.into(),
                max_create_revision: i64::try_from(entry.number).unwrap_or(i64::MAX) - 1,
                ..all(&self.line(&entry.name))
            };
            let found = self.range(before).await?;
            let now = revision(found.header.as_ref());
            let Some(before) = found.kvs.first() else { return Ok(true) };
            self.until_deleted(&before.key, now).await?;
        }
    }

    async fn begin(&self, entry: &Entry, candidate: &str) -> Result<Option<i64>, Error> {
        let since_ms = wall_clock_ms();
        let value = Record { since_ms: Some(since_ms), ..Record::of(candidate) }.to_json();
        let put = api::PutRequest { key: entry.key.as_str().into(), value, lease: self.lease };
        let asked = api::TxnRequest {
            compare: vec![made_by(&entry.key, i64::try_from(entry.number).unwrap_or(i64::MAX))],
            success: vec![api::RequestOp { request: Some(request_op::Request::RequestPut(put)) }],
            failure: Vec::new(),
        };
        Ok(self.transaction(asked).await?.succeeded.then_some(since_ms))
    }

    async fn until_gone(&self, entry: &Entry) -> Result<(), Error> {
        loop {
            let found = self.range(one(&entry.key)).await?;
            if found.kvs.is_empty() {
                return Ok(());
            }
            self.until_deleted(entry.key.as_bytes(), revision(found.header.as_ref())).await?;
        }
    }

    async fn leave(&self, entry: &Entry) -> Result<bool, Error> {
        self.delete(&entry.key).await
    }

    async fn forget(&self, name: &str, id: &str) -> Result<(), Error> {
        self.delete(&format!("{}{id}", self.line(name))).await.map(drop)
    }

    async fn leaders(&self, name: Option<&str>) -> Result<Vec<(Leader, Entry)>, Error> {
        let keys = match name {
            Some(name) => self.line(name),
            None => format!("{}/", self.prefix),
        };
        let found = self.range(all(&keys)).await?;
        // By the order in which they were made: the first of each name is who may lead.
        let mut firsts: BTreeMap<String, Option<(Leader, Entry)>> = BTreeMap::new();
        for each in found.kvs {
            let Some(name) = self.name_of(&each.key) else { continue };
            if !firsts.contains_key(&name) {
                firsts.insert(name.clone(), leader(&name, each)?);
            }
        }
        Ok(firsts.into_values().flatten().collect())
    }

    async fn close(&self) {
        let id = self.lease;
        let revoked = self.client.call(|way| async move {
            let request = way.request(api::LeaseRevokeRequest { id });
            LeaseClient::new(way.channel).lease_revoke(request).await
        });
        if let Err(error) = revoked.await {
            tracing::debug!(%error, "the lease runs out by itself");
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

/// Who leads by the first key of a name; none: its term has not begun yet.
fn leader(name: &str, found: api::KeyValue) -> Result<Option<(Leader, Entry)>, Error> {
    let Some(Record { candidate, since_ms: Some(since_ms) }) = Record::of_json(&found.value) else {
        return Ok(None);
    };
    let number = number(name, found.create_revision)?;
    let Ok(key) = String::from_utf8(found.key) else { return Ok(None) };
    let leader = Leader { name: name.to_owned(), candidate, token: FencingToken(number), since_ms };
    Ok(Some((leader, Entry { name: name.to_owned(), key, number })))
}
