//! A session on etcd is a lease. An entry is a key `…/NAME/ID` with that lease.

use super::client::Client;
use crate::candidate_queue::{CandidateRecord, Entry, QueueSession, decoded, encoded};
use crate::clock::wall_clock_ms;
use crate::{Error, FencingToken, Leader};
use async_trait::async_trait;
use etcd_client::{
    Compare, CompareOp, EventType, GetOptions, GetResponse, KeyValue, PutOptions, ResponseHeader, SortOrder,
    SortTarget, Txn, TxnOp, TxnOpResponse, TxnResponse, WatchFilterType, WatchOptions,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

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
        let granted = client.call(|mut etcd| async move { etcd.lease_grant(ttl, None).await }).await?;
        let ttl = Duration::from_secs(u64::try_from(granted.ttl()).unwrap_or(0).max(1));
        let session = Self { client, prefix, lease: granted.id(), ttl };
        // Check the permissions of the user now, not at the first campaign.
        session.leaders(Some("")).await?;
        Ok(session)
    }

    fn queue(&self, name: &str) -> String {
        format!("{}/{}/", self.prefix, encoded(name))
    }

    async fn get(&self, key: &str, options: Option<GetOptions>) -> Result<GetResponse, Error> {
        self.client
            .call(|mut etcd| {
                let options = options.clone();
                async move { etcd.get(key, options).await }
            })
            .await
    }

    async fn transaction(&self, transaction: Txn) -> Result<TxnResponse, Error> {
        self.client
            .call(|mut etcd| {
                let transaction = transaction.clone();
                async move { etcd.txn(transaction).await }
            })
            .await
    }

    async fn delete(&self, key: &str) -> Result<bool, Error> {
        let deleted = self.client.call(|mut etcd| async move { etcd.delete(key, None).await }).await?;
        Ok(deleted.deleted() > 0)
    }

    /// Waits until a key may have been deleted after a revision, or until the watch ends.
    async fn await_deletion(&self, key: &[u8], since_revision: i64) -> Result<(), Error> {
        let options = WatchOptions::new()
            .with_start_revision(since_revision + 1)
            .with_filters([WatchFilterType::NoPut]);
        let mut events = self
            .client
            .call(|mut etcd| {
                let options = options.clone();
                async move { etcd.watch(key, Some(options)).await }
            })
            .await?;
        loop {
            match events.message().await {
                Ok(Some(update)) if update.canceled() => return Ok(()),
                Ok(Some(update))
                    if update.events().iter().any(|event| event.event_type() == EventType::Delete) =>
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

/// All keys with the prefix, in the order of their creation.
fn by_creation() -> GetOptions {
    GetOptions::new().with_prefix().with_sort(SortTarget::Create, SortOrder::Ascend)
}

/// The condition that a key was created by this revision. Revision 0 means that the key does not exist.
fn created_at_revision(key: &str, revision: i64) -> Compare {
    Compare::create_revision(key, CompareOp::Equal, revision)
}

fn revision(header: Option<&ResponseHeader>) -> i64 {
    header.map_or(0, ResponseHeader::revision)
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
        self.client
            .call(|mut etcd| async move {
                match etcd.lease_keep_alive(id).await {
                    Ok(_stream) => Ok(true),
                    // The server does not know the lease any more.
                    Err(etcd_client::Error::LeaseKeepAliveError(_)) => Ok(false),
                    Err(error) => Err(error),
                }
            })
            .await
    }

    async fn await_end(&self) {
        // Only the response to a heartbeat reports the end of the lease.
        std::future::pending().await
    }

    async fn enqueue(&self, name: &str, id: &str, candidate: &str, _is_retry: bool) -> Result<Entry, Error> {
        let key = format!("{}{id}", self.queue(name));
        let value = CandidateRecord::of(candidate).to_json();
        let put = TxnOp::put(key.as_str(), value, Some(PutOptions::new().with_lease(self.lease)));
        let transaction = Txn::new()
            .when([created_at_revision(&key, 0)])
            .and_then([put])
            .or_else([TxnOp::get(key.as_str(), None)]);
        let done = self.transaction(transaction).await?;
        let made = if done.succeeded() {
            revision(done.header())
        } else {
            // An earlier request created the key.
            done.op_responses().into_iter().find_map(created).unwrap_or(0)
        };
        Ok(Entry { name: name.to_owned(), key, sequence: token_number(name, made)? })
    }

    async fn await_head(&self, entry: &Entry) -> Result<bool, Error> {
        loop {
            let before = GetOptions::new()
                .with_prefix()
                .with_sort(SortTarget::Create, SortOrder::Descend)
                .with_max_create_revision(i64::try_from(entry.sequence).unwrap_or(i64::MAX) - 1)
                .with_limit(1);
            let found = self.get(&self.queue(&entry.name), Some(before)).await?;
            let Some(before) = found.kvs().first() else { return Ok(true) };
            self.await_deletion(before.key(), revision(found.header())).await?;
        }
    }

    async fn begin_term(&self, entry: &Entry, candidate: &str) -> Result<Option<i64>, Error> {
        let since_ms = wall_clock_ms();
        let value = CandidateRecord { since_ms: Some(since_ms), ..CandidateRecord::of(candidate) }.to_json();
        let put = TxnOp::put(entry.key.as_str(), value, Some(PutOptions::new().with_lease(self.lease)));
        let created = i64::try_from(entry.sequence).unwrap_or(i64::MAX);
        let transaction = Txn::new().when([created_at_revision(&entry.key, created)]).and_then([put]);
        Ok(self.transaction(transaction).await?.succeeded().then_some(since_ms))
    }

    async fn await_removal(&self, entry: &Entry) -> Result<(), Error> {
        loop {
            let found = self.get(&entry.key, None).await?;
            if found.kvs().is_empty() {
                return Ok(());
            }
            self.await_deletion(entry.key.as_bytes(), revision(found.header())).await?;
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
        let found = self.get(&keys, Some(by_creation())).await?;
        // The keys are ordered by creation. The first key of each name belongs to its leader or its next leader.
        let mut first_keys: BTreeMap<String, Option<(Leader, Entry)>> = BTreeMap::new();
        for each in found.kvs() {
            let Some(name) = self.name_of(each.key()) else { continue };
            if !first_keys.contains_key(&name) {
                first_keys.insert(name.clone(), leader(&name, each)?);
            }
        }
        Ok(first_keys.into_values().flatten().collect())
    }

    async fn close(&self) {
        let id = self.lease;
        let revoked = self.client.call(|mut etcd| async move { etcd.lease_revoke(id).await });
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

/// The revision that created the key of a response to a get operation.
fn created(response: TxnOpResponse) -> Option<i64> {
    match response {
        TxnOpResponse::Get(found) => found.kvs().first().map(KeyValue::create_revision),
        TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => None,
    }
}

/// The leader according to the first key of a name, or `None` before the start of its term.
fn leader(name: &str, found: &KeyValue) -> Result<Option<(Leader, Entry)>, Error> {
    let Some(CandidateRecord { candidate, since_ms: Some(since_ms) }) =
        CandidateRecord::of_json(found.value())
    else {
        return Ok(None);
    };
    let number = token_number(name, found.create_revision())?;
    let Ok(key) = found.key_str() else { return Ok(None) };
    let leader = Leader { name: name.to_owned(), candidate, token: FencingToken(number), since_ms };
    Ok(Some((leader, Entry { name: name.to_owned(), key: key.to_owned(), sequence: number })))
}
