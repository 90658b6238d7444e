//! The guarantees of the inbox on both databases, under concurrency, and with plain SQL.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test panics on failure and prints why it was skipped"
)]

use futures::future::BoxFuture;
use goconductor_inbox::{Error, Executed, Failed, PgInbox, SqliteInbox};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use sqlx::{PgPool, SqlitePool};
use std::sync::Arc;
use std::time::Duration;

/// A participant with a table of effects and an inbox.
trait Participant: Send + Sync {
    /// Adds an effect, or fails if `fails` is set.
    fn execute<'a>(&'a self, key: &'a str, fails: bool) -> BoxFuture<'a, Result<Executed, Failed<String>>>;
    /// Undoes the effect, or fails if `fails` is set.
    fn compensate<'a>(&'a self, key: &'a str, fails: bool) -> BoxFuture<'a, Result<Value, Failed<String>>>;
    /// The number of times that a step was applied and undone.
    fn effects<'a>(&'a self, step: &'a str) -> BoxFuture<'a, (i64, i64)>;
    fn prune(&self, older: Duration) -> BoxFuture<'_, u64>;
}

macro_rules! participant {
    ($name:ident, $inbox:ty, $pool:ty) => {
        struct $name($inbox, $pool);
        impl Participant for $name {
            fn execute<'a>(
                &'a self,
                key: &'a str,
                fails: bool,
            ) -> BoxFuture<'a, Result<Executed, Failed<String>>> {
                let step = key.trim_end_matches("/execute").to_owned();
                Box::pin(self.0.execute(key, move |db| {
                    Box::pin(async move {
                        sqlx::query("INSERT INTO effects (step, applied, undone) VALUES ($1, 1, 0)")
                            .bind(&step)
                            .execute(&mut *db)
                            .await
                            .map_err(|error| error.to_string())?;
                        if fails { Err("requested failure".to_owned()) } else { Ok(json!({"step": step, "n": 1.0})) }
                    })
                }))
            }
            fn compensate<'a>(
                &'a self,
                key: &'a str,
                fails: bool,
            ) -> BoxFuture<'a, Result<Value, Failed<String>>> {
                let step = key.trim_end_matches("/compensate").to_owned();
                Box::pin(self.0.compensate(key, move |db, output| {
                    Box::pin(async move {
                        assert_eq!(output, json!({"step": step, "n": 1.0}), "the work receives the output of the execute");
                        sqlx::query("INSERT INTO effects (step, applied, undone) VALUES ($1, 0, 1)")
                            .bind(&step)
                            .execute(&mut *db)
                            .await
                            .map_err(|error| error.to_string())?;
                        if fails { Err("requested failure".to_owned()) } else { Ok(json!("undone")) }
                    })
                }))
            }
            fn effects<'a>(&'a self, step: &'a str) -> BoxFuture<'a, (i64, i64)> {
                Box::pin(async move {
                    let sql = "SELECT CAST(coalesce(sum(applied), 0) AS BIGINT), CAST(coalesce(sum(undone), 0) AS BIGINT)
                               FROM effects WHERE step = $1";
                    sqlx::query_as(sql).bind(step).fetch_one(&self.1).await.unwrap()
                })
            }
            fn prune(&self, older: Duration) -> BoxFuture<'_, u64> {
                Box::pin(async move { self.0.prune(older).await.unwrap() })
            }
        }
    };
}
participant!(OnPostgres, PgInbox, PgPool);
participant!(OnSqlite, SqliteInbox, SqlitePool);

const EFFECTS: &str =
    "CREATE TABLE effects (step TEXT NOT NULL, applied BIGINT NOT NULL, undone BIGINT NOT NULL)";

async fn on_sqlite(folder: &tempfile::TempDir) -> Arc<dyn Participant> {
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("participant.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(Duration::from_secs(30));
    let pool = SqlitePoolOptions::new().max_connections(8).connect_with(options).await.unwrap();
    let inbox = SqliteInbox::new(pool.clone());
    inbox.migrate().await.unwrap();
    inbox.migrate().await.unwrap();
    sqlx::query(EFFECTS).execute(&pool).await.unwrap();
    Arc::new(OnSqlite(inbox, pool))
}

/// Connects to a new schema. Returns `None` without a server, unless services are required.
async fn postgres() -> Option<PgPool> {
    let Ok(url) = std::env::var("GOCONDUCTOR_TEST_POSTGRES_URL") else {
        let required = std::env::var("GOCONDUCTOR_TEST_REQUIRE_SERVICES").is_ok_and(|value| value == "1");
        assert!(!required, "GOCONDUCTOR_TEST_POSTGRES_URL is not set");
        eprintln!("skipped: GOCONDUCTOR_TEST_POSTGRES_URL is not set");
        return None;
    };
    let schema = format!("inbox_{}", uuid::Uuid::now_v7().simple());
    let one = PgPool::connect(&url).await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).execute(&one).await.unwrap();
    let joint = if url.contains('?') { '&' } else { '?' };
    Some(PgPool::connect(&format!("{url}{joint}options=-c%20search_path%3D{schema}")).await.unwrap())
}

async fn on_postgres() -> Option<Arc<dyn Participant>> {
    let pool = postgres().await?;
    let inbox = PgInbox::new(pool.clone());
    let (one, two) = tokio::join!(inbox.migrate(), inbox.migrate());
    one.and(two).unwrap();
    sqlx::query(EFFECTS).execute(&pool).await.unwrap();
    Some(Arc::new(OnPostgres(inbox, pool)))
}

fn done(output: Value, repeated: bool) -> Executed {
    Executed::Done { output, repeated }
}

/// Checks each guarantee in turn.
async fn check_guarantees(of: &Arc<dyn Participant>) {
    let output = |step: &str| json!({"step": step, "n": 1.0});
    // An execute takes effect once, and a repeated request returns its output.
    assert_eq!(of.execute("w/a/execute", false).await.unwrap(), done(output("w/a"), false));
    assert_eq!(of.execute("w/a/execute", true).await.unwrap(), done(output("w/a"), true));
    assert_eq!(of.effects("w/a").await, (1, 0));
    // A compensate takes effect once, and a later execute is refused.
    assert_eq!(of.compensate("w/a/compensate", false).await.unwrap(), json!("undone"));
    assert_eq!(of.compensate("w/a/compensate", true).await.unwrap(), json!("undone"));
    assert_eq!(of.execute("w/a/execute", false).await.unwrap(), Executed::Refused);
    assert_eq!(of.effects("w/a").await, (1, 1));
    // A compensate without an execute does nothing, and a later execute is refused.
    assert_eq!(of.compensate("w/b/compensate", true).await.unwrap(), Value::Null);
    assert_eq!(of.execute("w/b/execute", false).await.unwrap(), Executed::Refused);
    assert_eq!(of.compensate("w/b/compensate", true).await.unwrap(), Value::Null);
    assert_eq!(of.effects("w/b").await, (0, 0));
    // A transaction that is rolled back leaves no record.
    assert!(
        matches!(of.execute("w/c/execute", true).await, Err(Failed::Work(why)) if why == "requested failure")
    );
    assert_eq!(of.effects("w/c").await, (0, 0));
    assert_eq!(of.execute("w/c/execute", false).await.unwrap(), done(output("w/c"), false));
    assert!(matches!(of.compensate("w/c/compensate", true).await, Err(Failed::Work(_))));
    assert_eq!(of.effects("w/c").await, (1, 0));
    assert_eq!(of.compensate("w/c/compensate", false).await.unwrap(), json!("undone"));
    // An invalid key changes nothing.
    for key in ["", "w/execute", "w/d/compensate"] {
        assert!(matches!(of.execute(key, false).await, Err(Failed::Inbox(Error::Key { .. }))), "{key}");
    }
    // Only records older than the given age are removed.
    assert_eq!(of.prune(Duration::from_secs(3600)).await, 0);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(of.prune(Duration::ZERO).await, 3);
}

/// Sends concurrent requests for the same steps. Each step takes effect once at most, and never after its compensate.
async fn check_concurrency(of: &Arc<dyn Participant>) {
    let mut requests = tokio::task::JoinSet::new();
    for number in 0..160 {
        let of = Arc::clone(of);
        requests.spawn(async move {
            let step = number % 5;
            // Half of the requests fail, and other processes repeat them. Some steps are compensated in between.
            if number % 16 == 7 && step % 2 == 0 {
                of.compensate(&format!("concurrent/s{step}/compensate"), false).await.map(drop).unwrap();
            } else if let Err(Failed::Inbox(error)) =
                of.execute(&format!("concurrent/s{step}/execute"), number % 2 == 0).await
            {
                panic!("{error}");
            }
        });
    }
    while let Some(ended) = requests.join_next().await {
        ended.unwrap();
    }
    for step in 0..5 {
        let (applied, undone) = of.effects(&format!("concurrent/s{step}")).await;
        assert!(applied <= 1 && undone <= applied, "step {step}: applied {applied}, undone {undone}");
        if step % 2 == 1 {
            assert_eq!((applied, undone), (1, 0), "step {step}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_inbox_keeps_every_guarantee() {
    let folder = tempfile::tempdir().unwrap();
    let participant = on_sqlite(&folder).await;
    check_guarantees(&participant).await;
    check_concurrency(&participant).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgresql_inbox_keeps_every_guarantee() {
    let Some(participant) = on_postgres().await else { return };
    check_guarantees(&participant).await;
    check_concurrency(&participant).await;
}

#[tokio::test]
async fn plain_sql_gives_the_same_decisions() {
    let Some(pool) = postgres().await else { return };
    sqlx::raw_sql(goconductor_inbox::POSTGRES_SQL).execute(&pool).await.unwrap();
    let decide = async |function: &str, key: &str| -> (String, Option<String>) {
        let sql = format!("SELECT verdict, output FROM goconductor_inbox_{function}($1)");
        sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(key).fetch_one(&pool).await.unwrap()
    };
    let record = async |function: &str, key: &str, output: &str| {
        let sql = format!("SELECT goconductor_inbox_{function}($1, $2)");
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(key).bind(output).execute(&pool).await.unwrap();
    };
    assert_eq!(decide("execute", "w/pay/execute").await, ("first".to_owned(), None));
    record("done", "w/pay/execute", "{\"id\": 12345678901234567890}").await;
    let output = Some("{\"id\": 12345678901234567890}".to_owned());
    assert_eq!(decide("execute", "w/pay/execute").await, ("repeat".to_owned(), output.clone()));
    assert_eq!(decide("compensate", "w/pay/compensate").await, ("first".to_owned(), output));
    record("undone", "w/pay/compensate", "null").await;
    assert_eq!(
        decide("compensate", "w/pay/compensate").await,
        ("repeat".to_owned(), Some("null".to_owned()))
    );
    assert_eq!(decide("execute", "w/pay/execute").await, ("refused".to_owned(), None));
    assert_eq!(decide("compensate", "w/ship/compensate").await, ("nothing".to_owned(), None));
    assert_eq!(decide("execute", "w/ship/execute").await, ("refused".to_owned(), None));
    let wrong =
        sqlx::query("SELECT * FROM goconductor_inbox_execute('w/ship/compensate')").execute(&pool).await;
    assert!(wrong.unwrap_err().to_string().contains("is not <workflow>/<step>/execute"));
}
