//! Elections and their leaders.

use serde::Deserialize;

/// The leader of an election.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Leader {
    /// The name of the election.
    pub name: String,
    /// The name of the leader.
    pub candidate: String,
    /// The fencing token. It is higher than the token of each earlier term.
    pub fencing_token: u64,
    /// The start of the term.
    pub since: String,
}

/// The elections that have a leader.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ElectionList {
    /// The leaders, ordered by the name of the election.
    pub elections: Vec<Leader>,
    /// Whether the election moves to another backend.
    pub moving: bool,
    /// The processes with an election.
    pub processes: Vec<ElectionProcess>,
}

/// The election backend of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ElectionProcess {
    /// The identity of the process.
    pub process: String,
    /// The service of the process.
    pub kind: String,
    /// The backend, such as `etcd`.
    pub backend: String,
    /// The era of the fencing tokens that the process can hold.
    pub era: u8,
    /// The reason why the process does not use the newest settings of the election.
    pub error: Option<String>,
}

/// The outcome of a request to step down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SteppedDown {
    /// Whether a term was ended. `false` if the election had no leader.
    pub ended: bool,
}
