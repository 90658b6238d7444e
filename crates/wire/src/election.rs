//! Conversions between the types of the election and their messages.

use crate::v1 as wire;
use crate::v1::campaign_response::Message;
use goconductor_election::{CampaignUpdate, FencingToken, Leader};

impl From<&Leader> for wire::Leader {
    fn from(leader: &Leader) -> Self {
        let (seconds, millis) = (leader.since_ms.div_euclid(1000), leader.since_ms.rem_euclid(1000));
        Self {
            name: leader.name.clone(),
            candidate: leader.candidate.clone(),
            fencing_token: leader.token.0,
            since: Some(prost_types::Timestamp {
                seconds,
                nanos: i32::try_from(millis * 1_000_000).unwrap_or(0),
            }),
        }
    }
}

impl From<wire::Leader> for Leader {
    fn from(wire: wire::Leader) -> Self {
        let since = wire.since.unwrap_or_default();
        Self {
            name: wire.name,
            candidate: wire.candidate,
            token: FencingToken(wire.fencing_token),
            since_ms: since.seconds.saturating_mul(1000).saturating_add(i64::from(since.nanos / 1_000_000)),
        }
    }
}

impl From<CampaignUpdate> for wire::CampaignResponse {
    fn from(event: CampaignUpdate) -> Self {
        let message = match event {
            CampaignUpdate::Heartbeat => Message::Beat(wire::Beat {}),
            CampaignUpdate::Elected(leader) => Message::Elected((&leader).into()),
        };
        Self { message: Some(message) }
    }
}
