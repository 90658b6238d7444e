//! What durable state has to promise: the trait, SQLite, PostgreSQL and their conformance cases
