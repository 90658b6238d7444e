//! The leader elector: elections over the configured backend, with fencing tokens
