//! What each service has: configuration, logs, metrics, health, drain
