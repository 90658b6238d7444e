//! `goconductor service …`

use crate::args::ServiceCommand;
use crate::error::{Exit, Result};
use crate::session::ServerSession;
use goconductor_client::ServiceRecord;
use serde_json::{Map, Value, json};

/// Runs a command for services.
pub(super) async fn run(command: ServiceCommand, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let (reply, done) = match command {
        ServiceCommand::List => return list(session).await,
        ServiceCommand::Get { name } => (client.service(&name).await?, ""),
        ServiceCommand::Set { name, url, max_in_flight, limit: limits } => {
            let mut settings = Map::new();
            settings.extend(url.map(|url| ("http".to_owned(), json!({"url": url}))));
            settings.extend(max_in_flight.map(|limit| ("max_in_flight".to_owned(), limit.into())));
            if !limits.is_empty() {
                let limit = |(action, limit): (String, u32)| (action, json!({"max_in_flight": limit}));
                let actions: Map<String, Value> = limits.into_iter().map(limit).collect();
                settings.insert("actions".to_owned(), actions.into());
            }
            (client.set_service(&name, &settings.into()).await?, "updated")
        }
    };
    if out.structured(&reply.text)? {
        return Ok(Exit::Success);
    }
    if out.names_only() {
        out.data(&reply.value.name)?;
    } else {
        out.table(&HEADS, vec![row(&reply.value)])?;
    }
    if !done.is_empty() {
        out.message(&format!("service {:?} {done}", reply.value.name));
    }
    Ok(Exit::Success)
}

const HEADS: [&str; 3] = ["SERVICE", "URL", "ALSO"];

async fn list(session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let reply = client.services().await?;
    if out.structured_list(&reply.text, "services")? {
        return Ok(Exit::Success);
    }
    if out.names_only() {
        for service in &reply.value.services {
            out.data(&service.name)?;
        }
    } else if reply.value.services.is_empty() {
        out.message("no services; add one with `goconductor service set NAME --url URL`");
    } else {
        out.table(&HEADS, reply.value.services.iter().map(row).collect())?;
    }
    Ok(Exit::Success)
}

fn row(service: &ServiceRecord) -> Vec<String> {
    let url = service.http.as_ref().and_then(|http| http.get("url")).and_then(Value::as_str);
    let also = service.more.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| match value {
        Value::String(text) => format!("{key}={text}"),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            format!("{key}={value}")
        }
    });
    vec![service.name.clone(), url.unwrap_or("-").to_owned(), also.collect::<Vec<_>>().join(" ")]
}
