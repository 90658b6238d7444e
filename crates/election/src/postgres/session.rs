//! The one session that all terms of a process hang on.

use crate::{Error, FencingToken, Leader};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Row};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// Between tries to connect: doubled from the first to the last.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];
/// A setting of ours, that a direct connection gives back.
const MARK: &str = "goconductor.session";
/// Any number, the same in every process: one at a time makes the table.
const LOCK: i64 = 0x676f_636f_6e64_656c;
/// What a name is locked by. Two names with one key would wait for one another, and no worse.
const KEY: &str = "hashtextextended(current_schema() || '/goconductor/' || $1, 0)";

/// What the session is asked for.
#[derive(Debug)]
pub(super) enum Ask {
    /// To be elected, if nobody leads.
    Stand { name: String, candidate: String, answer: oneshot::Sender<Result<Option<Won>, Error>> },
    /// To give a term up.
    Resign { name: String, token: FencingToken, answer: Option<oneshot::Sender<Result<(), Error>>> },
    /// Who leads: one name, or all.
    Leaders { name: Option<String>, answer: oneshot::Sender<Result<Vec<Leader>, Error>> },
    /// To end whoever's term.
    StepDown { name: String, answer: oneshot::Sender<Result<bool, Error>> },
}

/// A term that was won and is in nobody's hands yet: dropped, it is given up at the next heartbeat.
#[derive(Debug)]
pub(super) struct Won {
    leader: Leader,
    lost: watch::Receiver<bool>,
    wanted: oneshot::Sender<()>,
}

impl Won {
    /// Into the hands of one who gives it up himself.
    pub(super) fn take(self) -> (Leader, watch::Receiver<bool>) {
        // The session may have been lost by now: then nobody asks.
        if self.wanted.send(()).is_err() {
            tracing::debug!(election = self.leader.name, "a term was lost as soon as it was won");
        }
        (self.leader, self.lost)
    }
}

/// A term that is held.
#[derive(Debug)]
struct Held {
    token: FencingToken,
    lost: watch::Sender<bool>,
    /// Until somebody has taken it.
    wanted: Option<oneshot::Receiver<()>>,
}

/// The one session of a process.
#[derive(Debug)]
pub(super) struct Session {
    options: PgConnectOptions,
    lease: Duration,
    connection: Option<PgConnection>,
    mark: String,
    held: BTreeMap<String, Held>,
    pause: Duration,
    /// When the server was last heard of.
    heard: Instant,
}

impl Session {
    pub(super) fn new(options: PgConnectOptions, lease: Duration) -> Self {
        Self {
            options,
            lease,
            connection: None,
            mark: String::new(),
            held: BTreeMap::new(),
            pause: PAUSES[0],
            heard: Instant::now(),
        }
    }

    /// Connects, and sees to it that the connection is direct and the table there.
    pub(super) async fn connect(&mut self) -> Result<(), Error> {
        self.mark = uuid::Uuid::now_v7().simple().to_string();
        let lease = format!("{}ms", self.lease.as_millis());
        let options = self.options.clone().disable_statement_logging().options([
            (MARK, self.mark.as_str()),
            // A session that is silent for a lease is ended by the server, and its locks with it.
            ("idle_session_timeout", lease.as_str()),
        ]);
        let opening = async {
            let mut connection =
                PgConnection::connect_with(&options).await.map_err(|error| refused(&error))?;
            check_direct(&mut connection, &self.mark).await?;
            make_table(&mut connection).await?;
            Ok(connection)
        };
        let connection = tokio::time::timeout(self.lease, opening)
            .await
            .map_err(|_| Error::Unavailable { reason: "no answer within the lease".to_owned() })??;
        self.connection = Some(connection);
        self.heard = Instant::now();
        [self.pause, _] = PAUSES;
        Ok(())
    }

    /// Answers until nobody asks any more.
    pub(super) async fn run(mut self, mut asked: mpsc::UnboundedReceiver<Ask>) {
        let mut beats = tokio::time::interval(self.lease / 4);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // Safe to cancel: what was not received stays in the channel.
            tokio::select! {
                ask = asked.recv() => match ask {
                    Some(ask) => self.answer(ask).await,
                    None => return,
                },
                _ = beats.tick() => self.beat().await,
            }
        }
    }

    async fn answer(&mut self, ask: Ask) {
        match ask {
            // Who asked may have gone.
            Ask::Stand { name, candidate, answer } => drop(answer.send(self.stand(name, candidate).await)),
            Ask::Resign { name, token, answer } => {
                let resigned = self.resign(&name, token).await;
                drop(answer.map(|answer| answer.send(resigned)));
            }
            Ask::Leaders { name, answer } => drop(answer.send(self.leaders(name).await)),
            Ask::StepDown { name, answer } => drop(answer.send(self.step_down(name).await)),
        }
    }

    /// Runs statements, within half a lease; whatever goes wrong with the session ends every term.
    async fn with<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, Error> {
        if self.heard.elapsed() > self.lease {
            // This process was held up: the server may have ended the session, and another may lead.
            self.lose("the process was held up for longer than the lease");
        }
        if self.connection.is_none() {
            self.reconnect().await?;
        }
        let Some(connection) = &mut self.connection else {
            return Err(Error::Unavailable { reason: "there is no session".to_owned() });
        };
        match tokio::time::timeout(self.lease / 2, work(connection)).await {
            Ok(Ok(done)) => {
                self.heard = Instant::now();
                Ok(done)
            }
            Ok(Err(error)) => {
                let reason = error.to_string();
                self.lose(&reason);
                Err(Error::Unavailable { reason })
            }
            Err(_) => {
                self.lose("no answer within half of the lease");
                Err(Error::Unavailable { reason: "no answer in time".to_owned() })
            }
        }
    }

    async fn reconnect(&mut self) -> Result<(), Error> {
        let connected = self.connect().await;
        if connected.is_err() {
            let [_, longest] = PAUSES;
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(longest);
        }
        connected
    }

    /// The session is gone, and with it every lock.
    fn lose(&mut self, why: &str) {
        if !self.held.is_empty() {
            tracing::warn!(terms = self.held.len(), why, "the session with the election's database is lost");
        }
        self.connection = None;
        for (_, held) in std::mem::take(&mut self.held) {
            held.end();
        }
    }

    async fn stand(&mut self, name: String, candidate: String) -> Result<Option<Won>, Error> {
        // The lock of a session is no obstacle to the session itself.
        if self.held.contains_key(&name) {
            return Ok(None);
        }
        let row = self
            .with(async |connection| {
                // The epoch is raised under the lock: by one statement after the other, as the order within
                // one is PostgreSQL's own.
                let sql = format!("SELECT pg_try_advisory_lock({KEY})");
                // Safe: made of constants only.
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
                // Safe: made of constants only.
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
        let (wanted, taken) = oneshot::channel();
        self.held.insert(name.clone(), Held { token, lost: tell, wanted: Some(taken) });
        Ok(Some(Won { leader: Leader { name, candidate, token, since_ms }, lost, wanted }))
    }

    async fn resign(&mut self, name: &str, token: FencingToken) -> Result<(), Error> {
        if self.held.get(name).is_none_or(|held| held.token != token) {
            return Ok(());
        }
        let unlocked = self
            .with(async |connection| {
                let sql = format!("SELECT pg_advisory_unlock({KEY})");
                // Safe: made of constants only.
                let sql = sqlx::AssertSqlSafe(sql);
                sqlx::query_scalar::<_, bool>(sql).bind(name).fetch_one(connection).await
            })
            .await;
        if let Some(held) = self.held.remove(name) {
            held.end();
        }
        unlocked.map(drop)
    }

    /// Says that this process lives, and hears whether its terms go on.
    async fn beat(&mut self) {
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
                && (held.token != number(token) || number(until) >= held.token || held.is_unwanted())
            {
                ended.push((name, held.token));
            }
        }
        for (name, token) in ended {
            if let Err(error) = self.resign(&name, token).await {
                tracing::debug!(%error, "a term ends with its session");
            }
        }
    }

    async fn leaders(&mut self, name: Option<String>) -> Result<Vec<Leader>, Error> {
        // The truth is the lock; the row only says whose it is.
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
        // One's own term needs no heartbeat to hear of it.
        self.resign(&name, leader.token).await?;
        Ok(ended.rows_affected() > 0)
    }
}

impl Held {
    fn end(self) {
        // Nobody may be listening any more.
        self.lost.send_replace(true);
    }

    /// Whether whoever it was won for has gone without taking it.
    fn is_unwanted(&mut self) -> bool {
        let Some(wanted) = &mut self.wanted else { return false };
        match wanted.try_recv() {
            Ok(()) => {
                self.wanted = None;
                false
            }
            Err(oneshot::error::TryRecvError::Empty) => false,
            Err(oneshot::error::TryRecvError::Closed) => true,
        }
    }
}

/// The database's clock, in milliseconds.
const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

fn pooled(how: &str) -> Error {
    let reason = format!(
        "{how}: a pooler such as PgBouncer seems to be between here and PostgreSQL, where advisory locks vanish \
         or stay with a stranger; give the election the server's own address: election.url"
    );
    Error::Configuration { reason }
}

/// Why a connection could not be opened, by what can be done about it.
fn refused(error: &sqlx::Error) -> Error {
    let reason = error.to_string();
    let Some(refusal) = error.as_database_error() else { return Error::Unavailable { reason } };
    if reason.contains("startup parameter") {
        return pooled("a setting of ours is refused at the start of a connection");
    }
    if reason.contains("idle_session_timeout") {
        let reason = format!("{reason}: PostgreSQL 14 or newer is needed");
        return Error::Configuration { reason };
    }
    match refusal.code().as_deref() {
        // No such user, password or database.
        Some(code) if code.starts_with("28") || code == "3D000" => Error::Configuration { reason },
        Some(_) | None => Error::Unavailable { reason },
    }
}

async fn check_direct(connection: &mut PgConnection, mark: &str) -> Result<(), Error> {
    let broken = |error: sqlx::Error| Error::Unavailable { reason: error.to_string() };
    let mut backends = Vec::new();
    for _ in 0..3 {
        let (found, backend): (Option<String>, i32) =
            sqlx::query_as("SELECT current_setting($1, true), pg_backend_pid()")
                .bind(MARK)
                .fetch_one(&mut *connection)
                .await
                .map_err(broken)?;
        if found.as_deref() != Some(mark) {
            return Err(pooled("a setting of ours did not arrive at the server"));
        }
        backends.push(backend);
    }
    backends.dedup();
    if backends.len() > 1 {
        return Err(pooled("statements of one connection reach several sessions"));
    }
    Ok(())
}

async fn make_table(connection: &mut PgConnection) -> Result<(), Error> {
    let broken = |error: sqlx::Error| match error.as_database_error().and_then(|error| error.code()) {
        Some(code) if code.starts_with("42") => {
            Error::Configuration { reason: format!("the table goconductor_elections can't be made: {error}") }
        }
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
