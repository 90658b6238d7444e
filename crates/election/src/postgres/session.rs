//! The session that all terms of a process depend on.

use crate::backoff::ConnectBackoff;
use crate::{Error, FencingToken, Leader};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Row};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// A setting that only a direct connection returns unchanged.
const MARKER: &str = "goconductor.session";
/// The key of the advisory lock for the creation of the table. The number is arbitrary.
const LOCK: i64 = 0x676f_636f_6e64_656c;
/// The lock key of a name. Two names with the same key would only wait for each other.
const KEY: &str = "hashtextextended(current_schema() || '/goconductor/' || $1, 0)";

/// A request to the session.
#[derive(Debug)]
pub(super) enum SessionRequest {
    /// Try to win, if the name has no leader.
    Campaign { name: String, candidate: String, answer: oneshot::Sender<Result<Option<Won>, Error>> },
    /// End a term.
    Resign { name: String, token: FencingToken, answer: Option<oneshot::Sender<Result<(), Error>>> },
    /// Return the leader of one name, or all leaders.
    Leaders { name: Option<String>, answer: oneshot::Sender<Result<Vec<Leader>, Error>> },
    /// End the term of any leader.
    StepDown { name: String, answer: oneshot::Sender<Result<bool, Error>> },
}

/// A won term before its caller has taken it over. If it is dropped, the next heartbeat ends the term.
#[derive(Debug)]
pub(super) struct Won {
    leader: Leader,
    lost: watch::Receiver<bool>,
    taken_over: oneshot::Sender<()>,
}

impl Won {
    /// Takes the term over. The caller is then responsible for its end.
    pub(super) fn take(self) -> (Leader, watch::Receiver<bool>) {
        // The session may already be lost, in which case the term has ended.
        if self.taken_over.send(()).is_err() {
            tracing::debug!(election = self.leader.name, "the term was lost right after its start");
        }
        (self.leader, self.lost)
    }
}

/// A term of this process.
#[derive(Debug)]
struct HeldTerm {
    token: FencingToken,
    lost: watch::Sender<bool>,
    /// Resolves when the caller has taken the term over.
    taken_over: Option<oneshot::Receiver<()>>,
}

/// The session of a process.
#[derive(Debug)]
pub(super) struct Session {
    options: PgConnectOptions,
    lease: Duration,
    connection: Option<PgConnection>,
    marker: String,
    held: BTreeMap<String, HeldTerm>,
    backoff: ConnectBackoff,
    /// The time of the last response of the server.
    last_response: Instant,
}

impl Session {
    pub(super) fn new(options: PgConnectOptions, lease: Duration) -> Self {
        Self {
            options,
            lease,
            connection: None,
            marker: String::new(),
            held: BTreeMap::new(),
            backoff: ConnectBackoff::new(),
            last_response: Instant::now(),
        }
    }

    /// Connects, checks that the connection is direct, and creates the table.
    pub(super) async fn connect(&mut self) -> Result<(), Error> {
        self.marker = uuid::Uuid::now_v7().simple().to_string();
        let lease = format!("{}ms", self.lease.as_millis());
        let options = self.options.clone().disable_statement_logging().options([
            (MARKER, self.marker.as_str()),
            // The server ends a session without statements for the lease, and releases its locks.
            ("idle_session_timeout", lease.as_str()),
        ]);
        let opening = async {
            let mut connection =
                PgConnection::connect_with(&options).await.map_err(|error| connect_error(&error))?;
            check_direct(&mut connection, &self.marker).await?;
            make_table(&mut connection).await?;
            Ok(connection)
        };
        let connection = tokio::time::timeout(self.lease, opening)
            .await
            .map_err(|_| Error::Unavailable { reason: "no response within the lease".to_owned() })??;
        self.connection = Some(connection);
        self.last_response = Instant::now();
        self.backoff = ConnectBackoff::new();
        Ok(())
    }

    /// Handles requests until the election is dropped.
    pub(super) async fn run(mut self, mut received: mpsc::UnboundedReceiver<SessionRequest>) {
        let mut heartbeats = tokio::time::interval(self.lease / 4);
        heartbeats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // Safe to cancel: unreceived requests stay in the channel.
            tokio::select! {
                request = received.recv() => match request {
                    Some(request) => self.handle(request).await,
                    None => return,
                },
                _ = heartbeats.tick() => self.keep_alive().await,
            }
        }
    }

    async fn handle(&mut self, request: SessionRequest) {
        match request {
            // The caller may have gone away.
            SessionRequest::Campaign { name, candidate, answer } => {
                drop(answer.send(self.campaign(name, candidate).await))
            }
            SessionRequest::Resign { name, token, answer } => {
                let resigned = self.resign(&name, token).await;
                drop(answer.map(|answer| answer.send(resigned)));
            }
            SessionRequest::Leaders { name, answer } => drop(answer.send(self.leaders(name).await)),
            SessionRequest::StepDown { name, answer } => drop(answer.send(self.step_down(name).await)),
        }
    }

    /// Runs statements within half a lease. Any failure ends the session and every term.
    async fn with<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, Error> {
        if self.last_response.elapsed() > self.lease {
            // This process was suspended. The server may have ended the session, and another process may lead.
            self.lose("the process was suspended for longer than the lease");
        }
        if self.connection.is_none() {
            self.reconnect().await?;
        }
        let Some(connection) = &mut self.connection else {
            return Err(Error::Unavailable { reason: "the session is closed".to_owned() });
        };
        match tokio::time::timeout(self.lease / 2, work(connection)).await {
            Ok(Ok(done)) => {
                self.last_response = Instant::now();
                Ok(done)
            }
            Ok(Err(error)) => {
                let reason = error.to_string();
                self.lose(&reason);
                Err(Error::Unavailable { reason })
            }
            Err(_) => {
                self.lose("no response within half of the lease");
                Err(Error::Unavailable { reason: "no response within half of the lease".to_owned() })
            }
        }
    }

    async fn reconnect(&mut self) -> Result<(), Error> {
        let connected = self.connect().await;
        if connected.is_err() {
            tokio::time::sleep(self.backoff.next_delay()).await;
        }
        connected
    }

    /// Ends the session and all terms.
    fn lose(&mut self, why: &str) {
        if !self.held.is_empty() {
            tracing::warn!(terms = self.held.len(), why, "the session with the election database was lost");
        }
        self.connection = None;
        for (_, held) in std::mem::take(&mut self.held) {
            held.end();
        }
    }

    async fn campaign(&mut self, name: String, candidate: String) -> Result<Option<Won>, Error> {
        // A session does not wait for its own locks.
        if self.held.contains_key(&name) {
            return Ok(None);
        }
        let row = self
            .with(async |connection| {
                // Raise the epoch under the lock, in a second statement, because PostgreSQL chooses the order within one
                // statement.
                let sql = format!("SELECT pg_try_advisory_lock({KEY})");
                // Safe: the text consists of constants.
                let sql = sqlx::AssertSqlSafe(sql);
                if !sqlx::query_scalar::<_, bool>(sql).bind(&name).fetch_one(&mut *connection).await? {
                    return Ok(None);
                }
                let sql = format!(
                    "INSERT INTO goconductor_elections AS known (name, key, token, candidate, since_ms, ended)
                     VALUES ($1, {KEY}, 1, $2, {NOW}, 0)
                     ON CONFLICT (name) DO UPDATE SET key = excluded.key, token = known.token + 1,
                         candidate = excluded.candidate, since_ms = excluded.since_ms
                     RETURNING token, since_ms"
                );
                // Safe: the text consists of constants.
                let sql = sqlx::AssertSqlSafe(sql);
                sqlx::query(sql).bind(&name).bind(&candidate).fetch_one(&mut *connection).await.map(Some)
            })
            .await?;
        let Some(row) = row else { return Ok(None) };
        let read = |error: sqlx::Error| Error::Unavailable { reason: error.to_string() };
        let token: i64 = row.try_get(0).map_err(read)?;
        let since_ms: i64 = row.try_get(1).map_err(read)?;
        let token = FencingToken(u64::try_from(token).unwrap_or(0));
        let (tell, lost) = watch::channel(false);
        let (taken_over, taken) = oneshot::channel();
        self.held.insert(name.clone(), HeldTerm { token, lost: tell, taken_over: Some(taken) });
        Ok(Some(Won { leader: Leader { name, candidate, token, since_ms }, lost, taken_over }))
    }

    async fn resign(&mut self, name: &str, token: FencingToken) -> Result<(), Error> {
        if self.held.get(name).is_none_or(|held| held.token != token) {
            return Ok(());
        }
        let unlocked = self
            .with(async |connection| {
                let sql = format!("SELECT pg_advisory_unlock({KEY})");
                // Safe: the text consists of constants.
                let sql = sqlx::AssertSqlSafe(sql);
                sqlx::query_scalar::<_, bool>(sql).bind(name).fetch_one(connection).await
            })
            .await;
        if let Some(held) = self.held.remove(name) {
            held.end();
        }
        unlocked.map(drop)
    }

    /// Sends a heartbeat and checks whether the terms continue.
    async fn keep_alive(&mut self) {
        if self.connection.is_none() && self.held.is_empty() {
            return;
        }
        let names: Vec<String> = self.held.keys().cloned().collect();
        let rows = self
            .with(async |connection| {
                sqlx::query("SELECT name, token, ended FROM goconductor_elections WHERE name = ANY ($1)")
                    .bind(names)
                    .fetch_all(connection)
                    .await
            })
            .await;
        let Ok(rows) = rows else { return };
        let mut ended = Vec::new();
        for row in rows {
            let (Ok(name), Ok(token), Ok(until)) =
                (row.try_get::<String, _>(0), row.try_get::<i64, _>(1), row.try_get::<i64, _>(2))
            else {
                continue;
            };
            let number = |value: i64| FencingToken(u64::try_from(value).unwrap_or(0));
            if let Some(held) = self.held.get_mut(&name)
                && (held.token != number(token) || number(until) >= held.token || held.is_abandoned())
            {
                ended.push((name, held.token));
            }
        }
        for (name, token) in ended {
            if let Err(error) = self.resign(&name, token).await {
                tracing::debug!(%error, "a term was left to end with its session");
            }
        }
    }

    async fn leaders(&mut self, name: Option<String>) -> Result<Vec<Leader>, Error> {
        // The lock is authoritative. The row only names its holder.
        let rows = self
            .with(async |connection| {
                sqlx::query(
                    "SELECT known.name, known.candidate, known.token, known.since_ms
                     FROM goconductor_elections AS known
                     JOIN pg_locks AS lock ON lock.locktype = 'advisory' AND lock.granted
                         AND lock.objsubid = 1
                         AND ((lock.classid::bigint << 32) | lock.objid::bigint) = known.key
                         AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                     WHERE ($1::text IS NULL OR known.name = $1) AND known.ended < known.token
                     ORDER BY known.name COLLATE \"C\"",
                )
                .bind(name)
                .fetch_all(connection)
                .await
            })
            .await?;
        let leader = |row: &sqlx::postgres::PgRow| -> Result<Leader, sqlx::Error> {
            Ok(Leader {
                name: row.try_get(0)?,
                candidate: row.try_get(1)?,
                token: FencingToken(u64::try_from(row.try_get::<i64, _>(2)?).unwrap_or(0)),
                since_ms: row.try_get(3)?,
            })
        };
        let leaders: Result<Vec<_>, _> = rows.iter().map(leader).collect();
        leaders.map_err(|error| Error::Unavailable { reason: error.to_string() })
    }

    async fn step_down(&mut self, name: String) -> Result<bool, Error> {
        let Some(leader) = self.leaders(Some(name.clone())).await?.pop() else { return Ok(false) };
        let token = i64::try_from(leader.token.0).unwrap_or(i64::MAX);
        let ended = self
            .with(async |connection| {
                sqlx::query("UPDATE goconductor_elections SET ended = $2 WHERE name = $1 AND token = $2")
                    .bind(&name)
                    .bind(token)
                    .execute(connection)
                    .await
            })
            .await?;
        // End a term of this process at once.
        self.resign(&name, leader.token).await?;
        Ok(ended.rows_affected() > 0)
    }
}

impl HeldTerm {
    fn end(self) {
        // A closed channel means that no task waits.
        self.lost.send_replace(true);
    }

    /// Whether the caller went away without taking the term over.
    fn is_abandoned(&mut self) -> bool {
        let Some(taken_over) = &mut self.taken_over else { return false };
        match taken_over.try_recv() {
            Ok(()) => {
                self.taken_over = None;
                false
            }
            Err(oneshot::error::TryRecvError::Empty) => false,
            Err(oneshot::error::TryRecvError::Closed) => true,
        }
    }
}

/// The database's clock, in milliseconds.
const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

fn pooler_error(how: &str) -> Error {
    let reason = format!(
        "{how}; election.url seems to lead to a pooler such as PgBouncer, which does not preserve advisory locks; \
         set election.url to the direct address of the server"
    );
    Error::Configuration { reason }
}

/// Classifies a failure to connect.
fn connect_error(error: &sqlx::Error) -> Error {
    let reason = error.to_string();
    let Some(refusal) = error.as_database_error() else { return Error::Unavailable { reason } };
    if reason.contains("startup parameter") {
        return pooler_error("the server refused a startup parameter");
    }
    if reason.contains("idle_session_timeout") {
        let reason = format!("{reason}; PostgreSQL 14 or later is required");
        return Error::Configuration { reason };
    }
    match refusal.code().as_deref() {
        // Unknown user, wrong password or unknown database.
        Some(code) if code.starts_with("28") || code == "3D000" => Error::Configuration { reason },
        Some(_) | None => Error::Unavailable { reason },
    }
}

async fn check_direct(connection: &mut PgConnection, marker: &str) -> Result<(), Error> {
    let broken = |error: sqlx::Error| Error::Unavailable { reason: error.to_string() };
    let mut backends = Vec::new();
    for _ in 0..3 {
        let (found, backend): (Option<String>, i32) =
            sqlx::query_as("SELECT current_setting($1, true), pg_backend_pid()")
                .bind(MARKER)
                .fetch_one(&mut *connection)
                .await
                .map_err(broken)?;
        if found.as_deref() != Some(marker) {
            return Err(pooler_error("a startup parameter did not reach the server"));
        }
        backends.push(backend);
    }
    backends.dedup();
    if backends.len() > 1 {
        return Err(pooler_error("the statements of one connection reached several sessions"));
    }
    Ok(())
}

async fn make_table(connection: &mut PgConnection) -> Result<(), Error> {
    let broken = |error: sqlx::Error| match error.as_database_error().and_then(|error| error.code()) {
        Some(code) if code.starts_with("42") => Error::Configuration {
            reason: format!("failed to create the table goconductor_elections: {error}"),
        },
        Some(_) | None => Error::Unavailable { reason: error.to_string() },
    };
    let there: bool = sqlx::query_scalar("SELECT to_regclass('goconductor_elections') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await
        .map_err(broken)?;
    if there {
        return Ok(());
    }
    let mut transaction = connection.begin().await.map_err(broken)?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(LOCK)
        .execute(&mut *transaction)
        .await
        .map_err(broken)?;
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS goconductor_elections (
             name      TEXT   NOT NULL PRIMARY KEY,
             key       BIGINT NOT NULL,   -- of the advisory lock
             token     BIGINT NOT NULL,   -- of the newest term
             candidate TEXT   NOT NULL,
             since_ms  BIGINT NOT NULL,
             ended     BIGINT NOT NULL    -- terms up to this token were told to end
         )",
    )
    .execute(&mut *transaction)
    .await
    .map_err(broken)?;
    transaction.commit().await.map_err(broken)
}
