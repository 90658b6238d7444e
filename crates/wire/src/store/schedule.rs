//! Schedules.

use crate::internal as wire;
use goconductor_saga::Timestamp;
use goconductor_store::StoredSchedule;

impl From<StoredSchedule> for wire::StoredSchedule {
    fn from(schedule: StoredSchedule) -> Self {
        Self {
            namespace: schedule.namespace,
            name: schedule.name,
            revision: schedule.revision,
            next_due: schedule.next_due.map(|due| due.0),
            record: schedule.record,
        }
    }
}

impl From<wire::StoredSchedule> for StoredSchedule {
    fn from(wire: wire::StoredSchedule) -> Self {
        Self {
            namespace: wire.namespace,
            name: wire.name,
            revision: wire.revision,
            next_due: wire.next_due.map(Timestamp),
            record: wire.record,
        }
    }
}
