//! Members and dead letters.

use super::{Malformed, parsed, required, value};
use crate::internal as wire;
use goconductor_saga::Timestamp;
use goconductor_store::{Announcement, DeadLetter, Member};
use std::time::Duration;

impl TryFrom<&Announcement> for wire::Announcement {
    type Error = Malformed;

    fn try_from(member: &Announcement) -> Result<Self, Malformed> {
        Ok(Self {
            instance: member.instance.clone(),
            kind: member.kind.clone(),
            address: member.address.clone(),
            about_json: value("member", &member.info)?,
            lives_ms: u64::try_from(member.ttl.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

impl TryFrom<wire::Announcement> for Announcement {
    type Error = Malformed;

    fn try_from(wire: wire::Announcement) -> Result<Self, Malformed> {
        Ok(Self {
            info: parsed("member", &wire.about_json)?,
            instance: wire.instance,
            kind: wire.kind,
            address: wire.address,
            ttl: Duration::from_millis(wire.lives_ms),
        })
    }
}

impl TryFrom<&Member> for wire::Member {
    type Error = Malformed;

    fn try_from(member: &Member) -> Result<Self, Malformed> {
        Ok(Self {
            announcement: Some((&member.announcement).try_into()?),
            since: member.since.0,
            seen_at: member.seen_at.0,
        })
    }
}

impl TryFrom<wire::Member> for Member {
    type Error = Malformed;

    fn try_from(wire: wire::Member) -> Result<Self, Malformed> {
        Ok(Self {
            announcement: required(wire.announcement, "announcement of a member")?.try_into()?,
            since: Timestamp(wire.since),
            seen_at: Timestamp(wire.seen_at),
        })
    }
}

impl From<&DeadLetter> for wire::DeadLetter {
    fn from(letter: &DeadLetter) -> Self {
        Self {
            id: letter.id.clone(),
            topic: letter.topic.clone(),
            key: letter.key.clone(),
            payload: letter.payload.clone().into(),
            reason: letter.reason.clone(),
            at: letter.at.0,
        }
    }
}

impl From<wire::DeadLetter> for DeadLetter {
    fn from(wire: wire::DeadLetter) -> Self {
        Self {
            id: wire.id,
            topic: wire.topic,
            key: wire.key,
            payload: wire.payload.to_vec(),
            reason: wire.reason,
            at: Timestamp(wire.at),
        }
    }
}
