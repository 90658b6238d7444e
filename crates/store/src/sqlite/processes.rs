//! Who is there, and dead letters.

use crate::json::{json, parsed};
use crate::{Announcement, DeadLetter, DeadLetterPlace, Error, Member};
use goconductor_saga::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use std::time::Duration;

pub(super) fn announce(connection: &Connection, member: &Announcement, now: Timestamp) -> Result<(), Error> {
    connection
        .prepare_cached("DELETE FROM members WHERE seen_at + lives < ?1 AND instance <> ?2")?
        .execute(params![now.0, member.instance])?;
    connection
        .prepare_cached(
            "INSERT INTO members (instance, kind, address, about, since, seen_at, lives)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)
             ON CONFLICT (instance) DO UPDATE SET kind = excluded.kind, address = excluded.address,
                 about = excluded.about, seen_at = excluded.seen_at, lives = excluded.lives",
        )?
        .execute(params![
            member.instance,
            member.kind,
            member.address,
            json("a member", &member.info)?,
            now.0,
            i64::try_from(member.ttl.as_micros()).unwrap_or(i64::MAX >> 2),
        ])?;
    Ok(())
}

pub(super) fn members(connection: &Connection, now: Timestamp) -> Result<Vec<Member>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT instance, kind, address, about, since, seen_at, lives FROM members
         WHERE seen_at + lives > ?1 ORDER BY kind, instance",
    )?;
    let rows = statement.query_map([now.0], |row| {
        let texts: (String, String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        Ok((texts, row.get::<_, i64>(4)?, row.get::<_, i64>(5)?, row.get::<_, i64>(6)?))
    })?;
    rows.map(|row| {
        let ((instance, kind, address, info), since, seen_at, ttl) = row?;
        let info = parsed(&format!("member {instance}"), &info)?;
        let ttl = Duration::from_micros(u64::try_from(ttl).unwrap_or(0));
        let announcement = Announcement { instance, kind, address, info, ttl };
        Ok(Member { announcement, since: Timestamp(since), seen_at: Timestamp(seen_at) })
    })
    .collect()
}

pub(super) fn put_dead_letters(connection: &Connection, letters: &[DeadLetter]) -> Result<u64, Error> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO dead_letters (id, topic, message_key, payload, reason, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO NOTHING",
    )?;
    let mut new = 0;
    for each in letters {
        let row = params![each.id, each.topic, each.key, each.payload, each.reason, each.at.0];
        new += u64::try_from(insert.execute(row)?).unwrap_or(0);
    }
    Ok(new)
}

pub(super) fn dead_letters(
    connection: &Connection,
    before: Option<&DeadLetterPlace>,
    limit: u32,
) -> Result<Vec<DeadLetter>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT id, topic, message_key, payload, reason, at FROM dead_letters
         WHERE ?1 IS NULL OR (at, id) < (?1, ?2) ORDER BY at DESC, id DESC LIMIT ?3",
    )?;
    let (at, id) = (before.map(|place| place.at.0), before.map(|place| place.id.clone()));
    let rows = statement.query_map(params![at, id, limit], letter)?;
    rows.map(|row| Ok(row?)).collect()
}

pub(super) fn dead_letter(connection: &Connection, id: &str) -> Result<Option<DeadLetter>, Error> {
    let sql = "SELECT id, topic, message_key, payload, reason, at FROM dead_letters WHERE id = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([id], letter).optional()?)
}

fn letter(row: &rusqlite::Row<'_>) -> rusqlite::Result<DeadLetter> {
    Ok(DeadLetter {
        id: row.get(0)?,
        topic: row.get(1)?,
        key: row.get(2)?,
        payload: row.get(3)?,
        reason: row.get(4)?,
        at: Timestamp(row.get(5)?),
    })
}

pub(super) fn delete_dead_letter(connection: &Connection, id: &str) -> Result<bool, Error> {
    Ok(connection.prepare_cached("DELETE FROM dead_letters WHERE id = ?1")?.execute([id])? > 0)
}
