//! A runtime of its own for a measurement.

use tokio::sync::oneshot;

/// Runs `work` on a new multi-threaded runtime, so it can use all processors. If the caller is cancelled, the work
/// continues until the process ends.
pub(crate) async fn on_own_runtime<T, W, F>(work: W) -> anyhow::Result<T>
where
    T: Send + 'static,
    W: FnOnce() -> F + Send + 'static,
    F: Future<Output = anyhow::Result<T>>,
{
    let (sender, result) = oneshot::channel();
    std::thread::Builder::new().name("measurement".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        // The caller may have been cancelled.
        drop(sender.send(runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(work()))));
    })?;
    result.await?
}
