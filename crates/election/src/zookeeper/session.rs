//! A session is ZooKeeper's own; an entry is a node `…/NAME/ID-SEQUENCE`.

use crate::line::{Entry, Record, Session, decoded, encoded};
use crate::{Error, FencingToken, Leader};
use async_trait::async_trait;
use std::time::Duration;
use tokio::time::timeout;
use zookeeper_client::{Acls, Client, CreateMode, Error as Refusal, EventType, Stat};

/// A session with ZooKeeper.
#[derive(Debug)]
pub(super) struct ZooKeeperSession {
    client: Client,
    root: String,
    acls: Acls<'static>,
    request_timeout: Duration,
}

/// What the library's errors mean, by what can be done about them.
pub(super) fn meaning(error: &Refusal) -> Error {
    let said = format!("ZooKeeper: {error}");
    let advice = if matches!(error, Refusal::NoAuth) {
        "the nodes below election.prefix belong to somebody else: see election.user and election.password, or choose \
         another prefix"
    } else if matches!(error, Refusal::AuthFailed) {
        "see election.user and election.password; the scheme is digest"
    } else if matches!(error, Refusal::BadArguments(_)) {
        "see election.endpoints and election.tls"
    } else if matches!(error, Refusal::Unimplemented) {
        "ZooKeeper 3.5.3 or later is needed"
    } else {
        return Error::Unavailable { reason: said };
    };
    Error::Configuration { reason: format!("{said}: {advice}") }
}

/// Whether the session is no more.
fn is_over(error: &Refusal) -> bool {
    matches!(
        error,
        Refusal::SessionExpired | Refusal::SessionMoved | Refusal::ClientClosed | Refusal::AuthFailed
    )
}

/// The zxid as a token.
fn number(name: &str, zxid: i64) -> Result<u64, Error> {
    match u64::try_from(zxid) {
        Ok(number) if number > 0 => Ok(number),
        Ok(_) | Err(_) => Err(Error::TokensExhausted { name: name.to_owned() }),
    }
}

/// Nodes of a line, the first one first. Others than candidates' are passed over.
fn in_line(mut nodes: Vec<String>) -> Vec<String> {
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
        session.ask(made).await.map_err(|error| meaning(&error))?;
        // What this user may not do is said now, and not when somebody stands.
        session.ask(session.client.list_children(&session.root)).await.map_err(|error| meaning(&error))?;
        Ok(session)
    }

    /// Waits for an answer, for so long.
    async fn ask<T>(&self, call: impl Future<Output = Result<T, Refusal>> + Send) -> Result<T, Refusal> {
        timeout(self.request_timeout, call).await.unwrap_or(Err(Refusal::Timeout))
    }

    fn line(&self, name: &str) -> String {
        format!("{}/{}", self.root, encoded(name))
    }

    /// The nodes of a line; empty: there is none.
    async fn nodes(&self, line: &str) -> Result<Vec<String>, Error> {
        match self.ask(self.client.list_children(line)).await {
            Ok(nodes) => Ok(in_line(nodes)),
            Err(Refusal::NoNode) => Ok(Vec::new()),
            Err(error) => Err(meaning(&error)),
        }
    }

    async fn delete(&self, path: &str) -> Result<bool, Error> {
        match self.ask(self.client.delete(path, None)).await {
            Ok(()) => Ok(true),
            Err(Refusal::NoNode) => Ok(false),
            Err(error) => Err(meaning(&error)),
        }
    }

    /// Waits until a node is deleted.
    async fn until_deleted(&self, path: &str) -> Result<(), Error> {
        loop {
            let watching = self.ask(self.client.check_and_watch_stat(path)).await;
            let (stat, watcher) = watching.map_err(|error| meaning(&error))?;
            if stat.is_none() {
                return Ok(());
            }
            let event = watcher.changed().await;
            if event.event_type == EventType::Session {
                return Err(Error::Unavailable { reason: format!("ZooKeeper: {}", event.session_state) });
            }
        }
    }

    /// Who leads by the first node of a line; none: nobody does, or its term has not begun yet.
    async fn leader(&self, name: &str) -> Result<Option<(Leader, Entry)>, Error> {
        let line = self.line(name);
        loop {
            let Some(first) = self.nodes(&line).await?.into_iter().next() else { return Ok(None) };
            let key = format!("{line}/{first}");
            let (data, stat) = match self.ask(self.client.get_data(&key)).await {
                Ok(found) => found,
                // It went meanwhile: the next one is first now.
                Err(Refusal::NoNode) => continue,
                Err(error) => return Err(meaning(&error)),
            };
            // The first change of its data is the beginning of its term.
            let Some(Record { candidate, .. }) = Record::of_json(&data).filter(|_| stat.version > 0) else {
                return Ok(None);
            };
            let number = number(name, stat.czxid)?;
            let token = FencingToken(number);
            let leader = Leader { name: name.to_owned(), candidate, token, since_ms: stat.mtime };
            return Ok(Some((leader, Entry { name: name.to_owned(), key, number })));
        }
    }

    /// The entry with an id, if there is one.
    async fn made(&self, name: &str, id: &str) -> Result<Option<Entry>, Error> {
        self.sync().await?;
        let line = self.line(name);
        let Some(node) = self.nodes(&line).await?.into_iter().find(|node| node.split('-').next() == Some(id))
        else {
            return Ok(None);
        };
        let key = format!("{line}/{node}");
        let stat = self.ask(self.client.check_stat(&key)).await.map_err(|error| meaning(&error))?;
        let entry = |stat: Stat| Ok(Entry { name: name.to_owned(), key, number: number(name, stat.czxid)? });
        stat.map(entry).transpose()
    }

    /// Has reads that follow see what was written before.
    async fn sync(&self) -> Result<(), Error> {
        self.ask(self.client.sync(&self.root)).await.map_err(|error| meaning(&error))
    }
}

#[async_trait]
impl Session for ZooKeeperSession {
    fn lease(&self) -> Duration {
        self.client.session_timeout()
    }

    async fn beat(&self) -> Result<bool, Error> {
        // It is the leader of the servers that answers: one that is cut off from them can't.
        match self.ask(self.client.sync(&self.root)).await {
            Ok(()) => Ok(true),
            Err(error) if is_over(&error) => Ok(false),
            Err(error) => Err(meaning(&error)),
        }
    }

    async fn ended(&self) {
        let mut states = self.client.state_watcher();
        let mut state = states.peek_state();
        while !state.is_terminated() {
            state = states.changed().await;
        }
    }

    async fn stand(&self, name: &str, id: &str, candidate: &str, again: bool) -> Result<Entry, Error> {
        let line = self.line(name);
        let begin = format!("{line}/{id}-");
        if again && let Some(entry) = self.made(name, id).await? {
            return Ok(entry);
        }
        let data = Record::of(candidate).to_json();
        loop {
            let options = CreateMode::EphemeralSequential.with_acls(self.acls);
            match self.ask(self.client.create(&begin, &data, &options)).await {
                Ok((stat, sequence)) => {
                    let number = number(name, stat.czxid)?;
                    return Ok(Entry { name: name.to_owned(), key: format!("{begin}{sequence}"), number });
                }
                // A line that is empty is removed by the servers after a while.
                Err(Refusal::NoNode) => {}
                Err(error) => return Err(meaning(&error)),
            }
            let options = CreateMode::Container.with_acls(self.acls);
            match self.ask(self.client.create(&line, b"", &options)).await {
                Ok(_) | Err(Refusal::NodeExists) => {}
                Err(error) => return Err(meaning(&error)),
            }
        }
    }

    async fn until_first(&self, entry: &Entry) -> Result<bool, Error> {
        let line = self.line(&entry.name);
        loop {
            let nodes = self.nodes(&line).await?;
            let own = nodes.iter().position(|node| entry.key.rsplit('/').next() == Some(node));
            match own {
                None => return Ok(false),
                Some(0) => return Ok(true),
                Some(place) => {
                    if let Some(before) = nodes.get(place - 1) {
                        self.until_deleted(&format!("{line}/{before}")).await?;
                    }
                }
            }
        }
    }

    async fn begin(&self, entry: &Entry, candidate: &str) -> Result<Option<i64>, Error> {
        match self.ask(self.client.set_data(&entry.key, &Record::of(candidate).to_json(), None)).await {
            Ok(stat) => Ok(Some(stat.mtime)),
            Err(Refusal::NoNode) => Ok(None),
            Err(error) => Err(meaning(&error)),
        }
    }

    async fn until_gone(&self, entry: &Entry) -> Result<(), Error> {
        self.until_deleted(&entry.key).await
    }

    async fn leave(&self, entry: &Entry) -> Result<bool, Error> {
        self.delete(&entry.key).await
    }

    async fn forget(&self, name: &str, id: &str) -> Result<(), Error> {
        let line = self.line(name);
        for node in self.nodes(&line).await? {
            if node.split('-').next() == Some(id) {
                self.delete(&format!("{line}/{node}")).await?;
            }
        }
        Ok(())
    }

    async fn leaders(&self, name: Option<&str>) -> Result<Vec<(Leader, Entry)>, Error> {
        self.sync().await?;
        if let Some(name) = name {
            return Ok(self.leader(name).await?.into_iter().collect());
        }
        let lines = self.ask(self.client.list_children(&self.root)).await.map_err(|error| meaning(&error))?;
        let mut leaders = Vec::new();
        for name in lines.iter().filter_map(|line| decoded(line)) {
            leaders.extend(self.leader(&name).await?);
        }
        Ok(leaders)
    }

    async fn close(&self) {
        // The library ends it as soon as nobody holds it any more, which is now.
    }
}
