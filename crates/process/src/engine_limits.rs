//! The settings of the engine, and their changes by the API.

use crate::live_config::LiveConfig;
use goconductor_service_kit::config::Config;
use goconductor_transition::{Engine, Settings};
use std::sync::Arc;

/// Returns the configured settings of an engine.
#[must_use]
pub fn settings(config: &Config) -> Settings {
    Settings {
        redelivery: config.executor.redelivery,
        state_bytes: config.limits.state_bytes,
        inline_bytes: config.limits.inline_bytes,
    }
}

/// Changes the limits of an engine with the settings of the API.
pub fn follow(live: &LiveConfig, engine: &Arc<Engine>) {
    let engine = Arc::downgrade(engine);
    live.on_change(move |config| {
        if let Some(engine) = engine.upgrade() {
            engine.set_state_bytes(config.limits.state_bytes);
            engine.set_inline_bytes(config.limits.inline_bytes);
        }
    });
}
