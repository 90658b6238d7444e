//! Reads the record of a run from the REST API and from `goconductor doctor`, and stores it in files.

use crate::Api;
use crate::check::{Doctor, Graph, History, Node, Run, ShownEvent, View};
use crate::goconductor;
use anyhow::{Context, bail};
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Elements of a page, the maximum of the API.
const PAGE: usize = 1000;
/// Concurrent requests. The server also carries the load of the run.
const IN_FLIGHT: usize = 16;
/// Attempts to read a workflow that changes while it is read.
const READ_ATTEMPTS: u32 = 50;
/// The delay between two attempts.
const RETRY_DELAY: Duration = Duration::from_millis(20);

/// A page of the list of workflows.
#[derive(Deserialize)]
struct ListPage {
    workflows: Vec<Listed>,
    next_page_token: String,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    definition: String,
    version: u32,
}

/// A page of a history.
#[derive(Deserialize)]
struct EventPage {
    events: Vec<ShownEvent>,
}

/// Reads every workflow of a namespace with its history and the graph of its definition.
///
/// # Errors
/// Returns an error if a read fails, if a response has an unexpected form, or if a workflow changes during every
/// attempt to read it.
pub async fn collect(api: &Api) -> anyhow::Result<Vec<History>> {
    let listed = list(api).await?;
    let mut graphs: BTreeMap<(&str, u32), Arc<Graph>> = BTreeMap::new();
    for each in &listed {
        let key = (each.definition.as_str(), each.version);
        if let std::collections::btree_map::Entry::Vacant(place) = graphs.entry(key) {
            let path = format!("/definitions/{}/versions/{}/graph", each.definition, each.version);
            place.insert(Arc::new(read(api, &path).await?));
        }
    }
    let reads = listed.iter().map(|each| {
        let graph = graphs.get(&(each.definition.as_str(), each.version)).map(Arc::clone);
        history(api, &each.id, graph)
    });
    let all = stream::iter(reads).buffered(IN_FLIGHT).try_collect().await?;
    with_elements(api, all).await
}

/// Adds the workflows that run elements of steps, which are not listed. Histories name them.
async fn with_elements(api: &Api, mut all: Vec<History>) -> anyhow::Result<Vec<History>> {
    let mut known: BTreeSet<String> = all.iter().map(|history| history.id.clone()).collect();
    let mut read = 0;
    while read < all.len() {
        let mut found = Vec::new();
        for history in all.iter().skip(read) {
            for event in history.events.iter().filter(|event| event.kind == "CHILD_STARTED") {
                let child = event.detail.get("child").and_then(serde_json::Value::as_str);
                let node = history.graph.nodes.iter().find(|node| Some(&node.name) == event.step.as_ref());
                let (Some(child), Some(node)) = (child, node) else { continue };
                if known.insert(child.to_owned()) {
                    found.push((child.to_owned(), node.clone()));
                }
            }
        }
        read = all.len();
        let reads = found.into_iter().map(|(id, node)| element_history(api, id, node));
        let more: Vec<Option<History>> = stream::iter(reads).buffered(IN_FLIGHT).try_collect().await?;
        all.extend(more.into_iter().flatten());
    }
    Ok(all)
}

/// Reads a workflow that runs elements of a step. Returns `None` if it is another kind of child. It has a step for each
/// element, which is undone like the step that has the elements.
async fn element_history(api: &Api, id: String, of: Node) -> anyhow::Result<Option<History>> {
    let (view, events) = unchanged(api, &id).await?;
    if !view.runs_elements() {
        return Ok(None);
    }
    let node = |name: &str| Node { name: name.to_owned(), join: "all".to_owned(), ..of.clone() };
    let graph = Graph {
        name: view.definition.clone(),
        version: view.version,
        nodes: view.steps.iter().map(|step| node(&step.name)).collect(),
        edges: Vec::new(),
    };
    Ok(Some(History { id, graph: Arc::new(graph), view, events }))
}

async fn list(api: &Api) -> anyhow::Result<Vec<Listed>> {
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let page: ListPage = read(api, &format!("/workflows?page_size={PAGE}&page_token={token}")).await?;
        all.extend(page.workflows);
        if page.next_page_token.is_empty() {
            return Ok(all);
        }
        token = page.next_page_token;
    }
}

async fn history(api: &Api, id: &str, graph: Option<Arc<Graph>>) -> anyhow::Result<History> {
    let graph = graph.context("no graph")?;
    let (view, events) = unchanged(api, id).await?;
    Ok(History { id: id.to_owned(), graph, view, events })
}

/// Reads a workflow and its history until it does not change meanwhile.
async fn unchanged(api: &Api, id: &str) -> anyhow::Result<(View, Vec<ShownEvent>)> {
    for _ in 0..READ_ATTEMPTS {
        let before: View = read(api, &format!("/workflows/{id}")).await?;
        let events = events(api, id).await?;
        let view: View = read(api, &format!("/workflows/{id}")).await?;
        // An unchanged `seq` means that view and history belong together. A history that does not match its view is
        // left for the checks to report.
        if before.seq == view.seq {
            return Ok((view, events));
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
    bail!("workflow {id} changed during {READ_ATTEMPTS} attempts to read it; read the run when it is at rest")
}

async fn events(api: &Api, id: &str) -> anyhow::Result<Vec<ShownEvent>> {
    let mut all: Vec<ShownEvent> = Vec::new();
    loop {
        let after = all.last().map_or(0, |event| event.seq);
        let path = format!("/workflows/{id}/events?page_size={PAGE}&after_seq={after}");
        let page: EventPage = read(api, &path).await?;
        let full = page.events.len() >= PAGE;
        all.extend(page.events);
        if !full {
            return Ok(all);
        }
    }
}

async fn read<T: DeserializeOwned>(api: &Api, path: &str) -> anyhow::Result<T> {
    let body = api.get(path).await?;
    serde_json::from_value(body.clone())
        .with_context(|| format!("the response of GET {path} has an unexpected form: {body}"))
}

/// Runs `goconductor doctor`. `store` contains the arguments that select the store.
///
/// # Errors
/// Returns an error if the command fails without printing a report.
pub async fn doctor<S: AsRef<OsStr>>(store: impl IntoIterator<Item = S>) -> anyhow::Result<Doctor> {
    let output = goconductor()?.args(["doctor", "-o", "json"]).args(store).output().await?;
    let said = String::from_utf8_lossy(&output.stdout);
    // The exit code is 1 if there are findings, so the output decides.
    serde_json::from_str(&said).with_context(|| {
        format!("doctor failed with {}: {said}{}", output.status, String::from_utf8_lossy(&output.stderr))
    })
}

impl Run {
    /// Writes the record to a file, as JSON.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let file = std::fs::File::create(path).with_context(|| path.display().to_string())?;
        let mut file = std::io::BufWriter::new(file);
        serde_json::to_writer(&mut file, self)?;
        std::io::Write::flush(&mut file)?;
        Ok(())
    }

    /// Reads the record from a file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or does not contain a run.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
        serde_json::from_reader(std::io::BufReader::new(file)).with_context(|| path.display().to_string())
    }
}
