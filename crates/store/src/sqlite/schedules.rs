//! Schedules.

use super::SqliteStore;
use super::rows::number;
use crate::lease::stored_number;
use crate::{Error, ScheduleStore, StoredSchedule};
use async_trait::async_trait;
use goconductor_saga::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

#[async_trait]
impl ScheduleStore for SqliteStore {
    async fn put_schedule(&self, schedule: &StoredSchedule, replaces: Option<u64>) -> Result<bool, Error> {
        let schedule = schedule.clone();
        self.write_job(move |connection| put(connection, &schedule, replaces)).await
    }

    async fn schedule(&self, namespace: &str, name: &str) -> Result<Option<StoredSchedule>, Error> {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        self.read(move |connection| {
            let sql = "SELECT namespace, name, revision, next_due, record FROM schedules
                       WHERE namespace = ?1 AND name = ?2";
            let mut statement = connection.prepare_cached(sql)?;
            Ok(statement.query_row(params![namespace, name], schedule_of).optional()?)
        })
        .await
    }

    async fn schedules(
        &self,
        namespace: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<StoredSchedule>, Error> {
        let (namespace, after) = (namespace.to_owned(), after.map(str::to_owned));
        self.read(move |connection| {
            let sql = "SELECT namespace, name, revision, next_due, record FROM schedules
                       WHERE namespace = ?1 AND (?2 IS NULL OR name > ?2) ORDER BY name LIMIT ?3";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map(params![namespace, after, limit], schedule_of)?;
            rows.map(|row| Ok(row?)).collect()
        })
        .await
    }

    async fn due_schedules(&self, until: Timestamp, limit: u32) -> Result<Vec<StoredSchedule>, Error> {
        self.read(move |connection| {
            let sql = "SELECT namespace, name, revision, next_due, record FROM schedules
                       WHERE next_due <= ?1 ORDER BY next_due LIMIT ?2";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map(params![until.0, limit], schedule_of)?;
            rows.map(|row| Ok(row?)).collect()
        })
        .await
    }

    async fn delete_schedule(&self, namespace: &str, name: &str, revision: u64) -> Result<bool, Error> {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        self.write_job(move |connection| {
            let sql = "DELETE FROM schedules WHERE namespace = ?1 AND name = ?2 AND revision = ?3";
            let values = params![namespace, name, stored_number(revision)];
            Ok(connection.prepare_cached(sql)?.execute(values)? > 0)
        })
        .await
    }

    async fn schedule_count(&self, namespace: &str) -> Result<u64, Error> {
        let namespace = namespace.to_owned();
        self.read(move |connection| {
            let sql = "SELECT count(*) FROM schedules WHERE namespace = ?1";
            Ok(number(connection.prepare_cached(sql)?.query_row([namespace], |row| row.get(0))?))
        })
        .await
    }
}

fn put(connection: &Connection, schedule: &StoredSchedule, replaces: Option<u64>) -> Result<bool, Error> {
    let StoredSchedule { namespace, name, revision, next_due, record } = schedule;
    let (revision, next_due) = (stored_number(*revision), next_due.map(|due| due.0));
    let changed = match replaces {
        Some(replaced) => connection
            .prepare_cached(
                "UPDATE schedules SET revision = ?3, next_due = ?4, record = ?5
                 WHERE namespace = ?1 AND name = ?2 AND revision = ?6",
            )?
            .execute(params![namespace, name, revision, next_due, record, stored_number(replaced)])?,
        None => connection
            .prepare_cached(
                "INSERT INTO schedules (namespace, name, revision, next_due, record)
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
            )?
            .execute(params![namespace, name, revision, next_due, record])?,
    };
    Ok(changed > 0)
}

fn schedule_of(row: &Row<'_>) -> rusqlite::Result<StoredSchedule> {
    Ok(StoredSchedule {
        namespace: row.get(0)?,
        name: row.get(1)?,
        revision: number(row.get(2)?),
        next_due: row.get::<_, Option<i64>>(3)?.map(Timestamp),
        record: row.get(4)?,
    })
}
