//! A session on ZooKeeper. An entry is a node `…/NAME/ID-SEQUENCE`.

use crate::candidate_queue::{CandidateRecord, Entry, QueueSession, decoded, encoded};
use crate::{Error, FencingToken, Leader};
use async_trait::async_trait;
use std::time::Duration;
use tokio::time::timeout;
use zookeeper_client::{Acls, Client, CreateMode, Error as Refusal, EventType, Stat};

/// A session on ZooKeeper.
#[derive(Debug)]
pub(super) struct ZooKeeperSession {
    client: Client,
    root: String,
    acls: Acls<'static>,
    request_timeout: Duration,
}

/// Converts an error of the library to an error of the election, with the remedy.
pub(super) fn convert(error: &Refusal) -> Error {
    let message = format!("ZooKeeper: {error}");
    let advice = if matches!(error, Refusal::NoAuth) {
        "the nodes below election.prefix belong to another user; check election.user and election.password, or \
         choose another prefix"
    } else if matches!(error, Refusal::AuthFailed) {
        "check election.user and election.password; the scheme is digest"
    } else if matches!(error, Refusal::BadArguments(_)) {
        "check election.endpoints and election.tls"
    } else if matches!(error, Refusal::Unimplemented) {
        "ZooKeeper 3.5.3 or later is required"
    } else {
        return Error::Unavailable { reason: message };
    };
    Error::Configuration { reason: format!("{message}: {advice}") }
}

/// Whether the session has ended.
fn is_over(error: &Refusal) -> bool {
    matches!(
        error,
        Refusal::SessionExpired | Refusal::SessionMoved | Refusal::ClientClosed | Refusal::AuthFailed
    )
}

/// Converts a zxid to a token.
fn token_number(name: &str, zxid: i64) -> Result<u64, Error> {
    match u64::try_from(zxid) {
        Ok(number) if number > 0 => Ok(number),
        Ok(_) | Err(_) => Err(Error::TokensExhausted { name: name.to_owned() }),
    }
}

/// The nodes of a queue in order. Foreign nodes are skipped.
fn in_order(mut nodes: Vec<String>) -> Vec<String> {
    let sequence = |node: &str| node.rsplit_once('-').and_then(|(_, sequence)| sequence.parse::<u64>().ok());
    nodes.retain(|node| sequence(node).is_some());
    nodes.sort_by_key(|node| sequence(node));
    nodes
}

impl ZooKeeperSession {
    pub(super) async fn open(
        client: Client,
        root: String,
        is_owned: bool,
        request_timeout: Duration,
    ) -> Result<Self, Error> {
        let acls = if is_owned { Acls::creator_all() } else { Acls::anyone_all() };
        let session = Self { client, root, acls, request_timeout };
        let options = CreateMode::Persistent.with_acls(acls);
        let made = session.client.mkdir(&session.root, &options);
        session.ask(made).await.map_err(|error| convert(&error))?;
        // Check the permissions of the user now, not at the first campaign.
        session.ask(session.client.list_children(&session.root)).await.map_err(|error| convert(&error))?;
        Ok(session)
    }

    /// Waits for a response within the request timeout.
    async fn ask<T>(&self, call: impl Future<Output = Result<T, Refusal>> + Send) -> Result<T, Refusal> {
        timeout(self.request_timeout, call).await.unwrap_or(Err(Refusal::Timeout))
    }

    fn queue(&self, name: &str) -> String {
        format!("{}/{}", self.root, encoded(name))
    }

    /// The nodes of a queue, empty if the queue does not exist.
    async fn nodes(&self, queue: &str) -> Result<Vec<String>, Error> {
        match self.ask(self.client.list_children(queue)).await {
            Ok(nodes) => Ok(in_order(nodes)),
            Err(Refusal::NoNode) => Ok(Vec::new()),
            Err(error) => Err(convert(&error)),
        }
    }

    async fn delete(&self, path: &str) -> Result<bool, Error> {
        match self.ask(self.client.delete(path, None)).await {
            Ok(()) => Ok(true),
            Err(Refusal::NoNode) => Ok(false),
            Err(error) => Err(convert(&error)),
        }
    }

    /// Waits until a node is deleted.
    async fn await_deletion(&self, path: &str) -> Result<(), Error> {
        loop {
            let watching = self.ask(self.client.check_and_watch_stat(path)).await;
            let (stat, watcher) = watching.map_err(|error| convert(&error))?;
            if stat.is_none() {
                return Ok(());
            }
            let event = watcher.changed().await;
            if event.event_type == EventType::Session {
                return Err(Error::Unavailable { reason: format!("ZooKeeper: {}", event.session_state) });
            }
        }
    }

    /// The leader according to the first node of a queue, or `None` before the start of its term.
    async fn leader(&self, name: &str) -> Result<Option<(Leader, Entry)>, Error> {
        let queue = self.queue(name);
        loop {
            let Some(first) = self.nodes(&queue).await?.into_iter().next() else { return Ok(None) };
            let key = format!("{queue}/{first}");
            let (data, stat) = match self.ask(self.client.get_data(&key)).await {
                Ok(found) => found,
                // The node was removed in the meantime. Check the next one.
                Err(Refusal::NoNode) => continue,
                Err(error) => return Err(convert(&error)),
            };
            // The first change of the data marks the start of the term.
            let Some(CandidateRecord { candidate, .. }) =
                CandidateRecord::of_json(&data).filter(|_| stat.version > 0)
            else {
                return Ok(None);
            };
            let number = token_number(name, stat.czxid)?;
            let token = FencingToken(number);
            let leader = Leader { name: name.to_owned(), candidate, token, since_ms: stat.mtime };
            return Ok(Some((leader, Entry { name: name.to_owned(), key, sequence: number })));
        }
    }

    /// The entry with this id, if it exists.
    async fn find_by_id(&self, name: &str, id: &str) -> Result<Option<Entry>, Error> {
        self.sync().await?;
        let queue = self.queue(name);
        let Some(node) =
            self.nodes(&queue).await?.into_iter().find(|node| node.split('-').next() == Some(id))
        else {
            return Ok(None);
        };
        let key = format!("{queue}/{node}");
        let stat = self.ask(self.client.check_stat(&key)).await.map_err(|error| convert(&error))?;
        let entry =
            |stat: Stat| Ok(Entry { name: name.to_owned(), key, sequence: token_number(name, stat.czxid)? });
        stat.map(entry).transpose()
    }

    /// Makes the following reads see all earlier writes.
    async fn sync(&self) -> Result<(), Error> {
        self.ask(self.client.sync(&self.root)).await.map_err(|error| convert(&error))
    }
}

#[async_trait]
impl QueueSession for ZooKeeperSession {
    fn lease(&self) -> Duration {
        self.client.session_timeout()
    }

    async fn keep_alive(&self) -> Result<bool, Error> {
        // The leader of the ensemble answers, so a server that is cut off from it cannot.
        match self.ask(self.client.sync(&self.root)).await {
            Ok(()) => Ok(true),
            Err(error) if is_over(&error) => Ok(false),
            Err(error) => Err(convert(&error)),
        }
    }

    async fn await_end(&self) {
        let mut states = self.client.state_watcher();
        let mut state = states.peek_state();
        while !state.is_terminated() {
            state = states.changed().await;
        }
    }

    async fn enqueue(&self, name: &str, id: &str, candidate: &str, is_retry: bool) -> Result<Entry, Error> {
        let queue = self.queue(name);
        let begin = format!("{queue}/{id}-");
        if is_retry && let Some(entry) = self.find_by_id(name, id).await? {
            return Ok(entry);
        }
        let data = CandidateRecord::of(candidate).to_json();
        loop {
            let options = CreateMode::EphemeralSequential.with_acls(self.acls);
            match self.ask(self.client.create(&begin, &data, &options)).await {
                Ok((stat, sequence)) => {
                    let number = token_number(name, stat.czxid)?;
                    return Ok(Entry {
                        name: name.to_owned(),
                        key: format!("{begin}{sequence}"),
                        sequence: number,
                    });
                }
                // The servers remove an empty queue after some time.
                Err(Refusal::NoNode) => {}
                Err(error) => return Err(convert(&error)),
            }
            let options = CreateMode::Container.with_acls(self.acls);
            match self.ask(self.client.create(&queue, b"", &options)).await {
                Ok(_) | Err(Refusal::NodeExists) => {}
                Err(error) => return Err(convert(&error)),
            }
        }
    }

    async fn await_head(&self, entry: &Entry) -> Result<bool, Error> {
        let queue = self.queue(&entry.name);
        loop {
            let nodes = self.nodes(&queue).await?;
            let own = nodes.iter().position(|node| entry.key.rsplit('/').next() == Some(node));
            match own {
                None => return Ok(false),
                Some(0) => return Ok(true),
                Some(place) => {
                    if let Some(before) = nodes.get(place - 1) {
                        self.await_deletion(&format!("{queue}/{before}")).await?;
                    }
                }
            }
        }
    }

    async fn begin_term(&self, entry: &Entry, candidate: &str) -> Result<Option<i64>, Error> {
        match self
            .ask(self.client.set_data(&entry.key, &CandidateRecord::of(candidate).to_json(), None))
            .await
        {
            Ok(stat) => Ok(Some(stat.mtime)),
            Err(Refusal::NoNode) => Ok(None),
            Err(error) => Err(convert(&error)),
        }
    }

    async fn await_removal(&self, entry: &Entry) -> Result<(), Error> {
        self.await_deletion(&entry.key).await
    }

    async fn remove(&self, entry: &Entry) -> Result<bool, Error> {
        self.delete(&entry.key).await
    }

    async fn remove_by_id(&self, name: &str, id: &str) -> Result<(), Error> {
        let queue = self.queue(name);
        for node in self.nodes(&queue).await? {
            if node.split('-').next() == Some(id) {
                self.delete(&format!("{queue}/{node}")).await?;
            }
        }
        Ok(())
    }

    async fn leaders(&self, name: Option<&str>) -> Result<Vec<(Leader, Entry)>, Error> {
        self.sync().await?;
        if let Some(name) = name {
            return Ok(self.leader(name).await?.into_iter().collect());
        }
        let queues =
            self.ask(self.client.list_children(&self.root)).await.map_err(|error| convert(&error))?;
        let mut leaders = Vec::new();
        for name in queues.iter().filter_map(|queue| decoded(queue)) {
            leaders.extend(self.leader(&name).await?);
        }
        Ok(leaders)
    }

    async fn close(&self) {
        // The library ends the session when its last client is dropped, which is now.
    }
}
