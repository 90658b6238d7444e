//! The dispatch ledger.

use super::{Malformed, id, id_bytes, owed_key, required};
use crate::internal as wire;
use goconductor_saga::{Side, Timestamp};
use goconductor_store::{
    Claim, ClaimRequest, Fence, LaneClaim, LedgerRow, LedgerRowKey, RowKind, WorkflowShard,
};
use std::time::Duration;

impl From<&ClaimRequest> for wire::ClaimRequest {
    fn from(request: &ClaimRequest) -> Self {
        let fence = request.fence.as_ref();
        Self {
            fence: fence.map(|fence| wire::Fence { name: fence.name.clone(), token: fence.token }),
            shard: request.shard.map(|shard| wire::Shard { index: shard.index.into(), of: shard.of.into() }),
            now: request.now.0,
            lanes: request.lanes.iter().map(lane).collect(),
            timers: request.timers,
            limit: request.limit,
            redelivery_ms: u64::try_from(request.redelivery.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl TryFrom<wire::ClaimRequest> for ClaimRequest {
    type Error = Malformed;

    fn try_from(wire: wire::ClaimRequest) -> Result<Self, Malformed> {
        let byte = |number: u32| {
            u8::try_from(number).map_err(|_| Malformed(format!("shard number {number} is out of range")))
        };
        let shard = match wire.shard {
            Some(shard) => Some(WorkflowShard { index: byte(shard.index)?, of: byte(shard.of)? }),
            None => None,
        };
        Ok(Self {
            fence: wire.fence.map(|fence| Fence { name: fence.name, token: fence.token }),
            shard,
            now: Timestamp(wire.now),
            lanes: wire.lanes.into_iter().map(lane_of).collect::<Result<_, _>>()?,
            timers: wire.timers,
            limit: wire.limit,
            redelivery: Duration::from_millis(wire.redelivery_ms),
        })
    }
}

fn lane(lane: &LaneClaim) -> wire::LaneClaim {
    wire::LaneClaim {
        namespace: lane.namespace.clone(),
        service: lane.service.clone(),
        side: match lane.side {
            Side::Execute => wire::Side::Execute,
            Side::Compensate => wire::Side::Compensate,
        }
        .into(),
        waiting_since: lane.waiting_since.map(|since| since.0),
        limit: lane.limit,
    }
}

fn lane_of(lane: wire::LaneClaim) -> Result<LaneClaim, Malformed> {
    let side = match lane.side() {
        wire::Side::Execute => Side::Execute,
        wire::Side::Compensate => Side::Compensate,
        wire::Side::Unspecified => return Err(Malformed("side of a lane is missing".to_owned())),
    };
    Ok(LaneClaim {
        namespace: lane.namespace,
        service: lane.service,
        side,
        waiting_since: lane.waiting_since.map(Timestamp),
        limit: lane.limit,
    })
}

impl From<&LedgerRowKey> for wire::LedgerRowKey {
    fn from(key: &LedgerRowKey) -> Self {
        Self { id: id_bytes(key.id), key: key.key.to_string(), attempt: key.attempt }
    }
}

impl TryFrom<wire::LedgerRowKey> for LedgerRowKey {
    type Error = Malformed;

    fn try_from(wire: wire::LedgerRowKey) -> Result<Self, Malformed> {
        Ok(Self { id: id(&wire.id)?, key: owed_key(&wire.key)?, attempt: wire.attempt })
    }
}

impl From<&LedgerRow> for wire::LedgerRow {
    fn from(row: &LedgerRow) -> Self {
        let kind = match row.kind {
            RowKind::Run => wire::RowKind::Run,
            RowKind::Held => wire::RowKind::Held,
            RowKind::Withdraw => wire::RowKind::Withdraw,
        };
        Self {
            key: Some((&row.key).into()),
            namespace: row.namespace.clone(),
            service: row.service.clone(),
            kind: kind.into(),
            due_at: row.due_at.0,
            deliveries: row.deliveries,
            issued_at: row.issued_at.0,
        }
    }
}

impl TryFrom<wire::LedgerRow> for LedgerRow {
    type Error = Malformed;

    fn try_from(wire: wire::LedgerRow) -> Result<Self, Malformed> {
        let kind = match wire.kind() {
            wire::RowKind::Run => RowKind::Run,
            wire::RowKind::Held => RowKind::Held,
            wire::RowKind::Withdraw => RowKind::Withdraw,
            wire::RowKind::Unspecified => {
                return Err(Malformed("kind of a ledger row is missing".to_owned()));
            }
        };
        Ok(Self {
            key: required(wire.key, "key of a ledger row")?.try_into()?,
            namespace: wire.namespace,
            service: wire.service,
            kind,
            due_at: Timestamp(wire.due_at),
            deliveries: wire.deliveries,
            issued_at: Timestamp(wire.issued_at),
        })
    }
}

impl From<&Claim> for wire::ClaimResponse {
    fn from(claim: &Claim) -> Self {
        Self { rows: claim.rows.iter().map(Into::into).collect(), next_due: claim.next_due.map(|due| due.0) }
    }
}

impl TryFrom<wire::ClaimResponse> for Claim {
    type Error = Malformed;

    fn try_from(wire: wire::ClaimResponse) -> Result<Self, Malformed> {
        let rows = wire.rows.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        Ok(Self { rows, next_due: wire.next_due.map(Timestamp) })
    }
}
