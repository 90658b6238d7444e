//! The driver of the Rust SDK for the conformance suite. `sdk/conformance/README.md` documents the protocol.

mod calls;
mod crash;
mod driver;
mod participant;
mod protocol;
mod script;

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let runtime = tokio::runtime::Runtime::new()?;
    driver::run(&runtime)?;
    // The runner does not read responses to requests that are left.
    runtime.shutdown_background();
    Ok(())
}
