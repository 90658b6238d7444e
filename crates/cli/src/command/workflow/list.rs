//! `goconductor workflow list` and `count`

use crate::args::{GroupingField, ListArgs, OutputFormat};
use crate::document::JsonDocument;
use crate::error::{Exit, Result};
use crate::output::Output;
use crate::session::ServerSession;
use goconductor_client::{Client, Listing, Reply, Workflow, WorkflowPage};

/// The page size of `--all`: the maximum of the API.
const PAGE_SIZE: u32 = 1000;

const HEADS: [&str; 5] = ["ID", "DEFINITION", "STATUS", "CREATED", "ENDED"];
const WIDE_HEADS: [&str; 10] =
    ["ID", "DEFINITION", "VERSION", "STATUS", "CAUSE", "CREATED", "ENDED", "LABELS", "KEY", "ERROR"];

/// Lists workflows.
pub(super) async fn run(args: ListArgs, session: &ServerSession) -> Result {
    let is_filtered = args.filter.is_some();
    let listing = Listing {
        filter: args.filter,
        page_size: args.page_size.or(args.all.then_some(PAGE_SIZE)),
        page_token: args.page_token,
    };
    if args.all {
        let (workflows, members) = all(&session.client, listing).await?;
        let text =
            JsonDocument::Object(vec![("workflows".to_owned(), JsonDocument::List(members))]).to_line();
        let page = WorkflowPage { workflows, next_page_token: None };
        return write(session, &Reply { value: page, text }, is_filtered);
    }
    write(session, &session.client.workflows(&listing).await?, is_filtered)
}

/// Returns all pages of a list, both typed and as the server sent them.
pub(super) async fn all(client: &Client, mut listing: Listing) -> Result<(Vec<Workflow>, Vec<JsonDocument>)> {
    let (mut workflows, mut members) = (Vec::new(), Vec::new());
    loop {
        let Reply { value: page, text } = client.workflows(&listing).await?;
        workflows.extend(page.workflows);
        if let Ok(document) = JsonDocument::parse(&text) {
            let list = document.field("workflows").map(JsonDocument::members).unwrap_or_default();
            members.extend(list.iter().cloned());
        }
        listing.page_token = page.next_page_token.filter(|token| !token.is_empty());
        if listing.page_token.is_none() {
            return Ok((workflows, members));
        }
    }
}

fn write(session: &ServerSession, reply: &Reply<WorkflowPage>, is_filtered: bool) -> Result {
    let out = &session.out;
    let page = &reply.value;
    if out.structured_list(&reply.text, "workflows")? {
        return Ok(Exit::Success);
    }
    if out.names_only() {
        for workflow in &page.workflows {
            out.data(&workflow.id)?;
        }
    } else if page.workflows.is_empty() {
        out.message(if is_filtered {
            "no workflow matches the filter"
        } else {
            "no workflows; start one with `goconductor workflow start DEFINITION --input JSON`, where `goconductor \
             definition list` shows the definitions"
        });
    } else if out.format == OutputFormat::Wide {
        out.table(&WIDE_HEADS, page.workflows.iter().map(|each| wide(each, out)).collect())?;
    } else {
        out.table(&HEADS, page.workflows.iter().map(|each| row(each, out)).collect())?;
    }
    if let Some(token) = page.next_page_token.as_ref().filter(|token| !token.is_empty()) {
        out.message(&format!("more workflows exist: use --all, or --page-token {token}"));
    }
    Ok(Exit::Success)
}

fn row(workflow: &Workflow, out: &Output) -> Vec<String> {
    vec![
        workflow.id.clone(),
        workflow.definition.clone(),
        workflow.status.to_string(),
        out.time(workflow.created_at.as_deref()),
        out.time(workflow.ended_at.as_deref()),
    ]
}

fn wide(workflow: &Workflow, out: &Output) -> Vec<String> {
    let labels: Vec<String> = workflow.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    vec![
        workflow.id.clone(),
        workflow.definition.clone(),
        workflow.version.to_string(),
        workflow.status.to_string(),
        or_dash(workflow.cause.as_deref()),
        out.time(workflow.created_at.as_deref()),
        out.time(workflow.ended_at.as_deref()),
        or_dash(Some(&labels.join(","))),
        or_dash(workflow.idempotency_key.as_deref()),
        or_dash(workflow.error.as_ref().map(|error| error.code.as_str())),
    ]
}

fn or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned()
}

/// Counts workflows.
pub(super) async fn count(by: GroupingField, filter: Option<&str>, session: &ServerSession) -> Result {
    let out = &session.out;
    let (by, head) = match by {
        GroupingField::Status => ("status", "STATUS"),
        GroupingField::Definition => ("definition", "DEFINITION"),
        GroupingField::ErrorCode => ("error_code", "ERROR CODE"),
    };
    let reply = session.client.workflow_counts(by, filter).await?;
    if out.structured_list(&reply.text, "counts")? {
        return Ok(Exit::Success);
    }
    let counts = &reply.value.counts;
    if out.names_only() {
        for count in counts {
            out.data(&count.value)?;
        }
    } else if counts.is_empty() {
        out.message(if filter.is_some() { "no workflow matches the filter" } else { "no workflows" });
    } else {
        let rows = counts.iter().map(|each| vec![each.value.clone(), each.count.to_string()]);
        out.table(&[head, "COUNT"], rows.collect())?;
    }
    Ok(Exit::Success)
}
