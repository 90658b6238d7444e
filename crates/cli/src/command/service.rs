//! `goconductor service …`

use crate::args::{OutputFormat, ServiceCommand};
use crate::error::{Exit, Result};
use crate::json_argument::without_duplicates;
use crate::output::Output;
use crate::session::ServerSession;
use goconductor_client::{DeletedService, ServiceRecord};
use serde_json::{Map, Value, json};

/// Runs a command for services.
pub(super) async fn run(command: ServiceCommand, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let (reply, done) = match command {
        ServiceCommand::List => return list(session).await,
        ServiceCommand::Delete { name } => return delete(&name, session).await,
        ServiceCommand::Get { name } => (client.service(&name).await?, ""),
        ServiceCommand::Set { name, url, header: headers, max_in_flight, limit: limits } => {
            let mut settings = Map::new();
            let headers = without_duplicates("--header", headers)?;
            let http = |url: String| match headers.is_empty() {
                true => json!({"url": url}),
                false => json!({"url": url, "headers": headers}),
            };
            settings.extend(url.map(|url| ("http".to_owned(), http(url))));
            settings.extend(max_in_flight.map(|limit| ("max_in_flight".to_owned(), limit.into())));
            if !limits.is_empty() {
                let limit = |(action, limit): (String, u32)| (action, json!({"max_in_flight": limit}));
                let limits = without_duplicates("--limit", limits)?;
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
        table(std::slice::from_ref(&reply.value), out)?;
    }
    if !done.is_empty() {
        out.message(&format!("service {:?} {done}", reply.value.name));
    }
    Ok(Exit::Success)
}

const HEADS: [&str; 5] = ["SERVICE", "URL", "SERVED", "BACKLOG", "UPDATED"];
const WIDE_HEADS: [&str; 7] =
    ["SERVICE", "URL", "SERVED", "BACKLOG", "UPDATED", "MAX IN FLIGHT", "ACTION LIMITS"];

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
        table(&reply.value.services, out)?;
    }
    Ok(Exit::Success)
}

async fn delete(name: &str, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let reply = client.delete_service(name).await?;
    let DeletedService { name, definitions, backlog, workers } = &reply.value;
    if !out.structured(&reply.text)? && out.names_only() {
        out.data(name)?;
    }
    out.message(&format!("service {name:?} deleted"));
    if !definitions.is_empty() {
        out.message(&format!("used by the definitions {}", definitions.join(", ")));
    }
    if *workers > 0 {
        out.message(&format!("{workers} connected workers still serve it"));
    } else if *backlog > 0 {
        out.message(&format!("{backlog} due commands wait until it is set again or a worker serves it"));
    }
    Ok(Exit::Success)
}

fn table(services: &[ServiceRecord], out: &Output) -> Result<()> {
    let is_wide = out.format == OutputFormat::Wide;
    let rows = services.iter().map(|each| {
        let limits = if is_wide { limits(each) } else { Vec::new() };
        row(each, out).into_iter().chain(limits).collect()
    });
    out.table(if is_wide { &WIDE_HEADS } else { &HEADS }, rows.collect())
}

fn row(service: &ServiceRecord, out: &Output) -> Vec<String> {
    let url = service.http.as_ref().and_then(|http| http.get("url")).and_then(Value::as_str);
    let field = |name: &str| service.more.get(name);
    let served = match field("served").and_then(Value::as_bool) {
        Some(true) => "yes",
        Some(false) => "no",
        None => "-",
    };
    vec![
        service.name.clone(),
        url.unwrap_or("-").to_owned(),
        served.to_owned(),
        number(field("backlog")),
        out.time(field("updated_at").and_then(Value::as_str)),
    ]
}

/// Returns the limit of a service and those of its actions.
fn limits(service: &ServiceRecord) -> Vec<String> {
    let limit = |(name, action): (&String, &Value)| format!("{name}={}", number(action.get("max_in_flight")));
    let actions = service.more.get("actions").and_then(Value::as_object);
    let actions: Vec<String> = actions.into_iter().flatten().map(limit).collect();
    let actions = if actions.is_empty() { "-".to_owned() } else { actions.join(" ") };
    vec![number(service.more.get("max_in_flight")), actions]
}

fn number(value: Option<&Value>) -> String {
    value.filter(|value| value.is_number()).map_or_else(|| "-".to_owned(), Value::to_string)
}
