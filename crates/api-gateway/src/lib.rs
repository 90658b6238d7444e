//! REST for people and clients
