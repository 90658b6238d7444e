//! The store on PostgreSQL 13 and later.
