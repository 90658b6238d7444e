//! End-to-end tests with real processes, seen from outside only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::print_stderr,
    reason = "a test panics on failure"
)]
mod abuse;
mod alerts;
mod api;
mod audit;
mod batch;
mod budgets;
mod call;
mod call_grpc;
mod cancels;
mod check;
mod child;
mod cluster;
mod command_line;
mod compensation_limits;
mod config;
mod console;
mod constructs;
mod core_dumps;
mod crash;
mod db;
mod doubt;
mod elections;
mod elements;
mod environment;
mod examples;
mod fenced_locks;
mod for_each;
mod forward;
mod garbage;
mod grpc;
mod killed_participant;
mod locks;
mod locks_of_workflows;
mod long_history;
mod migrate;
mod overload;
mod payloads;
mod reflection;
mod removal;
mod rerun;
mod restarts;
mod restore;
mod rollback;
mod schedule;
mod sdk;
mod secrets;
mod secured;
mod shortage;
mod simulate;
mod stored;
mod systemd;
mod tls;
mod traces;
mod upgrade;
mod values;
mod virtual_time;
mod waits;
mod world;
