//! Schedules.

use super::rows::{escape_nul, number, unescape_nul};
use super::{PostgresStore, unavailable, uncertain};
use crate::lease::stored_number;
use crate::{Error, ScheduleStore, StoredSchedule};
use async_trait::async_trait;
use goconductor_saga::Timestamp;
use sqlx::Row;
use sqlx::postgres::PgRow;

#[async_trait]
impl ScheduleStore for PostgresStore {
    async fn put_schedule(&self, schedule: &StoredSchedule, replaces: Option<u64>) -> Result<bool, Error> {
        let sql = match replaces {
            Some(_) => {
                "UPDATE schedules SET revision = $3, next_due = $4, record = $5
                 WHERE namespace = $1 AND name = $2 AND revision = $6"
            }
            // The unused parameter keeps both statements alike.
            None => {
                "INSERT INTO schedules (namespace, name, revision, next_due, record)
                 SELECT $1, $2, $3::bigint, $4::bigint, $5 WHERE $6::bigint IS NULL ON CONFLICT DO NOTHING"
            }
        };
        let done = sqlx::query(sql)
            .bind(escape_nul(&schedule.namespace))
            .bind(escape_nul(&schedule.name))
            .bind(stored_number(schedule.revision))
            .bind(schedule.next_due.map(|due| due.0))
            .bind(escape_nul(&schedule.record))
            .bind(replaces.map(stored_number))
            .execute(&mut *self.connection().await?)
            .await
            .map_err(uncertain)?;
        Ok(done.rows_affected() > 0)
    }

    async fn schedule(&self, namespace: &str, name: &str) -> Result<Option<StoredSchedule>, Error> {
        let sql = "SELECT namespace, name, revision, next_due, record FROM schedules
                   WHERE namespace = $1 AND name = $2";
        let row = sqlx::query(sql).bind(escape_nul(namespace)).bind(escape_nul(name));
        let row = row.fetch_optional(&mut *self.connection().await?).await.map_err(unavailable)?;
        row.map(|row| schedule(&row).map_err(unavailable)).transpose()
    }

    async fn schedules(
        &self,
        namespace: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<StoredSchedule>, Error> {
        let sql = "SELECT namespace, name, revision, next_due, record FROM schedules
                   WHERE namespace = $1 AND ($2::text IS NULL OR name > $2) ORDER BY name LIMIT $3";
        let rows = sqlx::query(sql)
            .bind(escape_nul(namespace))
            .bind(after.map(escape_nul))
            .bind(i64::from(limit))
            .fetch_all(&mut *self.connection().await?)
            .await
            .map_err(unavailable)?;
        rows.iter().map(|row| schedule(row).map_err(unavailable)).collect()
    }

    async fn due_schedules(&self, until: Timestamp, limit: u32) -> Result<Vec<StoredSchedule>, Error> {
        let sql = "SELECT namespace, name, revision, next_due, record FROM schedules
                   WHERE next_due <= $1 ORDER BY next_due LIMIT $2";
        let rows = sqlx::query(sql)
            .bind(until.0)
            .bind(i64::from(limit))
            .fetch_all(&mut *self.connection().await?)
            .await
            .map_err(unavailable)?;
        rows.iter().map(|row| schedule(row).map_err(unavailable)).collect()
    }

    async fn delete_schedule(&self, namespace: &str, name: &str, revision: u64) -> Result<bool, Error> {
        let done = sqlx::query("DELETE FROM schedules WHERE namespace = $1 AND name = $2 AND revision = $3")
            .bind(escape_nul(namespace))
            .bind(escape_nul(name))
            .bind(stored_number(revision))
            .execute(&mut *self.connection().await?)
            .await
            .map_err(uncertain)?;
        Ok(done.rows_affected() > 0)
    }

    async fn schedule_count(&self, namespace: &str) -> Result<u64, Error> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM schedules WHERE namespace = $1")
            .bind(escape_nul(namespace))
            .fetch_one(&mut *self.connection().await?)
            .await
            .map_err(unavailable)?;
        Ok(number(count))
    }
}

fn schedule(row: &PgRow) -> Result<StoredSchedule, sqlx::Error> {
    Ok(StoredSchedule {
        namespace: unescape_nul(row.try_get(0)?),
        name: unescape_nul(row.try_get(1)?),
        revision: number(row.try_get(2)?),
        next_due: row.try_get::<Option<i64>, _>(3)?.map(Timestamp),
        record: unescape_nul(row.try_get(4)?),
    })
}
