//! The port for durable state.
//!
//! [`Store`] is the port. It has one trait for each group of callers: [`WorkflowStore`], [`LedgerStore`],
//! [`DefinitionStore`], [`ClusterStore`], [`AccessKeyStore`], [`LockStore`], [`DeadLetterStore`], [`ShardLeaseStore`],
//! [`AuditStore`], [`SecretStore`], [`ScheduleStore`], [`PayloadStore`], [`WorkflowBatchStore`] and [`MaintenanceStore`]. `sqlite` and `postgres` are its adapters, each behind the
//! feature of its name, and [`open`] opens a database. `conformance` is the array of test cases that every adapter runs.
//! The batching store and the client of the state store service implement the same traits, so a caller does not know whether it talks to a database, to a
//! batch or to another process. A store that wraps another one implements [`StoreLayer`].
//!
//! The crate does not know queues, services or expressions, and makes no decisions. It commits a transition that `saga`
//! decided, provided that the workflow is still at the `seq` from which the transition was computed.
//!
//! Text may contain any character, including U+0000. Values may have any size and depth. Both are returned unchanged,
//! and distinct texts stay distinct in lists and as keys.
//!
//! Invariants:
//!
//! - Everything that a response reports is durable.
//! - A write changes the row, the history and the ledger of a workflow together or not at all.
//! - A history has no gaps.
//! - The ledger equals `owed(state)`.
//! - A write with a fencing token is refused once a higher token has been seen.
//! - A lock has at most one holder, and the tokens of its holders only rise.
//! - The records of the audit log form one chain of hashes.

#![cfg_attr(
    not(all(feature = "postgres", feature = "sqlite")),
    allow(dead_code, reason = "only an adapter that this build does not contain uses it")
)]

mod access_key;
pub mod admin;
mod audit;
pub mod batching;
mod cluster;
mod config_entry;
mod config_history;
#[cfg(feature = "conformance")]
pub mod conformance;
mod dead_letter;
mod definition;
mod error;
mod filter;
mod filter_match;
pub mod json;
mod layer;
mod lease;
mod ledger;
mod lock;
mod maintenance;
mod member;
pub mod metrics;
mod open;
mod payload;
#[cfg(feature = "postgres")]
pub mod postgres;
mod record;
mod retention;
mod schedule;
mod schema;
mod secret;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod statistics;
mod workflow;
mod workflow_batch;

pub use access_key::{AccessKey, AccessKeyEnd, AccessKeyLayer, AccessKeyStore, AccessScope};
pub use audit::{
    AuditEvent, AuditFilter, AuditHead, AuditLayer, AuditOutcome, AuditProblem, AuditProblemKind,
    AuditRecord, AuditReport, AuditRequest, AuditStore, AuditVerifier,
};
pub use cluster::{ClusterLayer, ClusterStore};
pub use config_entry::ConfigEntry;
pub use config_history::{CONFIG_VERSIONS, ConfigChange, ConfigHistory, ConfigVersion};
pub use dead_letter::{DeadLetter, DeadLetterLayer, DeadLetterPosition, DeadLetterStore};
pub use definition::{
    ActionLimits, DefinitionLayer, DefinitionName, DefinitionRecord, DefinitionStore, HttpEndpoint,
    NewDefinition, PutDefinition, ServiceRecord, ServiceSettings,
};
pub use error::{Cause, Error};
pub use filter::{Comparison, Field, Filter, FilterValue};
pub use layer::StoreLayer;
pub use lease::{
    LeaseProgress, LeaseRequest, LeaseUpdate, NewShardLease, ShardLease, ShardLeaseLayer, ShardLeaseStore,
};
pub use ledger::{
    Claim, ClaimRequest, Fence, LaneClaim, LedgerLayer, LedgerRow, LedgerRowKey, LedgerStore, LedgerWaits,
    RowKind, WorkflowShard,
};
pub use lock::{
    Lock, LockHold, LockLayer, LockOutcome, LockRequest, LockStore, SHARED_OWNER, WantedLock,
    WorkflowLockOutcome, WorkflowLockRequest,
};
pub use maintenance::{
    DEFAULT_RETENTION, MaintenanceLayer, MaintenanceReport, MaintenanceRequest, MaintenanceStore,
    maintenance_loop,
};
pub use member::{
    ActionBacklog, Announcement, AppliedConfig, ElectionView, Member, PendingSetting, ProcessInfo, QueueView,
    ServedService,
};
pub use open::{DatabaseLocation, open, open_with, remains};
pub use payload::{
    PAYLOAD_CHUNK_BYTES, PayloadChunk, PayloadLayer, PayloadLink, PayloadStore, StoredPayload,
};
pub use record::{EncodedTransition, EncodedWorkflow, FormerEnd, Loaded};
pub use retention::Retention;
pub use schedule::{ScheduleLayer, ScheduleStore, StoredSchedule};
pub use schema::{
    AppliedMigration, Migration, RELEASE, START_RULES, SchemaFit, SchemaPolicy, SchemaStatus, start_rules,
};
pub use secret::{SecretHead, SecretLayer, SecretPosition, SecretStore, SecretVersion, WrappedDataKey};
pub use statistics::{LaneStatistics, NamespaceStatistics, StoreStatistics};
pub use workflow::{
    Count, ListPage, ListRequest, NewWorkflow, Summary, TransitionWrite, WorkflowHead, WorkflowLayer,
    WorkflowStore, Write, WriteOutcome, WriteTrace,
};
pub use workflow_batch::{
    BatchChange, BatchCounts, BatchId, BatchItem, BatchItemResult, BatchItemStatus, BatchLease,
    BatchOperation, BatchSelection, BatchStatus, TakenItem, WorkflowBatch, WorkflowBatchLayer,
    WorkflowBatchStore,
};

/// Durable state: the port with all its parts.
///
/// Every type that implements the parts implements `Store`. A caller that uses one part should ask for that part:
/// `Arc<dyn Store>` coerces to `Arc<dyn LockStore>`.
pub trait Store:
    WorkflowStore
    + LedgerStore
    + DefinitionStore
    + ClusterStore
    + AccessKeyStore
    + LockStore
    + DeadLetterStore
    + ShardLeaseStore
    + AuditStore
    + SecretStore
    + ScheduleStore
    + PayloadStore
    + WorkflowBatchStore
    + MaintenanceStore
{
}

impl<T> Store for T where
    T: WorkflowStore
        + LedgerStore
        + DefinitionStore
        + ClusterStore
        + AccessKeyStore
        + LockStore
        + DeadLetterStore
        + ShardLeaseStore
        + AuditStore
        + SecretStore
        + ScheduleStore
        + PayloadStore
        + WorkflowBatchStore
        + MaintenanceStore
{
}
