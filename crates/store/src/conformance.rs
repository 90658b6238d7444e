//! The one array of cases that every store runs.
