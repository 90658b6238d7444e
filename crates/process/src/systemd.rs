//! Notifications to the service manager that started the process, by systemd's `sd_notify` protocol.
//!
//! A process that systemd did not start, or whose unit is not of `Type=notify`, has no `NOTIFY_SOCKET`. It starts no task
//! and sends nothing.

use goconductor_service_kit::drain::Drain;
use sd_notify::NotifyState;
use std::time::Duration;

/// Interval between readiness checks of a process that is not ready.
const START_INTERVAL: Duration = Duration::from_millis(500);
/// Time for which each notification of a process that is not ready extends its timeout. A process waits for its database
/// and for other processes for any time, so only a process that sends nothing has failed to start.
const START_EXTENSION: Duration = Duration::from_secs(30);
/// Interval between readiness checks of a ready process. They only update the text of `systemctl status`.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);
/// Notifications within one timeout of the watchdog, so that a late one does no harm.
const WATCHDOG_NOTIFICATIONS: u32 = 3;
/// Maximum length of a status in characters. systemd cuts off longer ones.
const MAX_STATUS: usize = 500;

/// Keeps the service manager informed, if one started the process: `READY=1` when `readiness` succeeds for the first time,
/// `STATUS=…` with the reason while it fails, `WATCHDOG=1` as long as no background task has failed, and `STOPPING=1` when
/// the drain starts. Must be called within a Tokio runtime.
///
/// `readiness` returns the reason why the process is not ready, which must not contain a secret. `shutdown_limit` is the
/// maximum duration of the drain.
pub fn notify_systemd<F>(
    drain: &Drain,
    shutdown_limit: Duration,
    readiness: impl Fn() -> F + Send + Sync + 'static,
) where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    if std::env::var_os("NOTIFY_SOCKET").is_none_or(|socket| socket.is_empty()) {
        return;
    }
    let drain = drain.clone();
    let notifications = async move {
        // The watchdog has a loop of its own, because a readiness check can take longer than its timeout.
        tokio::join!(feed_watchdog(), report_state(drain, shutdown_limit, readiness));
    };
    drop(goconductor_supervisor::spawn("systemd-notifier", notifications));
}

/// Notifies the watchdog as long as the process works. A runtime whose threads are all blocked does not poll this
/// future, so the watchdog ends the process.
async fn feed_watchdog() {
    let Some(timeout) = sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero()) else { return };
    while goconductor_supervisor::failure().is_none() {
        send(&[NotifyState::Watchdog]);
        tokio::time::sleep(timeout / WATCHDOG_NOTIFICATIONS).await;
    }
}

async fn report_state<F>(drain: Drain, shutdown_limit: Duration, readiness: impl Fn() -> F)
where
    F: Future<Output = Result<(), String>>,
{
    let mut was_ready = false;
    while !drain.is_draining() {
        // Cancel-safe: a readiness check has no effect.
        let state = tokio::select! {
            () = drain.draining() => break,
            state = readiness() => state,
        };
        let status = status(&state);
        match (was_ready, state) {
            (false, Ok(())) => send(&[NotifyState::Ready, NotifyState::Status(&status)]),
            (false, Err(_)) => send(&[extension(START_EXTENSION), NotifyState::Status(&status)]),
            (true, _) => send(&[NotifyState::Status(&status)]),
        }
        was_ready |= status == READY;
        // Cancel-safe: the loop checks the drain.
        tokio::select! {
            () = drain.draining() => {}
            () = tokio::time::sleep(if was_ready { STATUS_INTERVAL } else { START_INTERVAL }) => {}
        }
    }
    send(&[NotifyState::Stopping, extension(shutdown_limit), NotifyState::Status("draining")]);
}

const READY: &str = "ready";

/// Returns a state as one line.
fn status(state: &Result<(), String>) -> String {
    match state {
        Ok(()) => READY.to_owned(),
        Err(reason) => {
            let reason = reason.chars().map(|c| if c.is_control() { ' ' } else { c });
            format!("not ready: {}", reason.take(MAX_STATUS).collect::<String>())
        }
    }
}

fn extension(duration: Duration) -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(duration.as_micros()).unwrap_or(u32::MAX))
}

/// Sends a notification. It blocks only while the socket of the service manager is full.
fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "notification of the service manager failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_one_line_of_limited_length() {
        assert_eq!(status(&Ok(())), "ready");
        let reason = "database: refused\nREADY=1".to_owned();
        assert_eq!(status(&Err(reason)), "not ready: database: refused READY=1");
        assert_eq!(
            status(&Err("é".repeat(2 * MAX_STATUS))).chars().count(),
            "not ready: ".len() + MAX_STATUS
        );
    }
}
