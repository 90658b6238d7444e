//! Checking and drawing definitions without a server.
