//! The state store: groups what arrives together into one database transaction
