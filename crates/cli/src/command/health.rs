//! `goconductor health`: the health check of containers and scripts, without a shell.

use crate::args::HealthArgs;
use crate::error::{CliError, Exit, Result};
use crate::session::ServerSession;
use goconductor_client::{Error, ServerReadiness};
use serde_json::json;

/// Checks a server. Every failure has exit code 1, because container engines reserve other codes.
pub(super) async fn run(args: &HealthArgs, session: &ServerSession) -> Result {
    let checking = async { if args.live { live(session).await } else { ready(session).await } };
    match tokio::time::timeout(args.timeout, checking).await {
        Ok(checked) => checked,
        Err(_) => {
            let limit = goconductor_service_kit::duration::format(args.timeout);
            Err(unhealthy(session, &format!("no response within {limit}")))
        }
    }
}

async fn live(session: &ServerSession) -> Result {
    let health = session.client.health().await.map_err(failed)?;
    print(session, &health.status, &json!({ "status": health.status }).to_string())
}

async fn ready(session: &ServerSession) -> Result {
    let reply = session.client.readiness().await.map_err(failed)?;
    if reply.value.ready {
        return print(session, &reply.value.status, &reply.text);
    }
    Err(unhealthy(session, &format!("it is {}", reply.value.status)).details(failed_checks(&reply.value)))
}

fn print(session: &ServerSession, status: &str, text: &str) -> Result {
    if !session.out.structured(text)? {
        session.out.data(status)?;
    }
    Ok(Exit::Success)
}

/// Creates the error for a server that gave no answer of its health. The message names its address.
fn failed(error: Error) -> CliError {
    CliError::new(Exit::Other, error.to_string())
}

fn unhealthy(session: &ServerSession, reason: &str) -> CliError {
    CliError::new(Exit::Other, format!("{} is not healthy: {reason}", session.client.address()))
}

fn failed_checks(readiness: &ServerReadiness) -> Vec<String> {
    let failed = readiness.checks.iter().filter(|check| !check.ok);
    failed.map(|check| format!("{}: {}", check.name, check.detail.as_deref().unwrap_or("failed"))).collect()
}
