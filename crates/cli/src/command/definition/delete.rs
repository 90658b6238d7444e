//! `goconductor definition delete`

use crate::error::{Exit, Result};
use crate::session::ServerSession;
use goconductor_client::Status;

/// Archives a definition, and shows how many of its workflows continue.
pub(super) async fn run(name: &str, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    client.delete_definition(name).await?;
    // The name is that of a definition that existed, so it has no character that a filter must escape.
    let counts = client.workflow_counts("status", Some(&format!("definition = \"{name}\""))).await?;
    let open = counts.value.counts.into_iter().filter(|count| !Status::from(count.value.clone()).is_final());
    let open: u64 = open.map(|count| count.count).sum();
    if out.names_only() {
        out.data(name)?;
    } else {
        out.structured(&serde_json::json!({"name": name, "open_workflows": open}).to_string())?;
    }
    out.message(&match open {
        0 => format!("definition {name:?} deleted"),
        1 => format!("definition {name:?} deleted; 1 workflow of it continues"),
        open => format!("definition {name:?} deleted; {open} workflows of it continue"),
    });
    Ok(Exit::Success)
}
