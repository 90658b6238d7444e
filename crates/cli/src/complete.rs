//! Candidates for a completion at the shell prompt: names and ids from the server.
//!
//! The server is that of `GOCONDUCTOR_SERVER` or of the command line. An error has no candidates and no message, because a
//! message would destroy the prompt.

use crate::connect;
use crate::defaults::{
    CA_VARIABLE, CERT_VARIABLE, DEFAULT_NAMESPACE, DEFAULT_SERVER, KEY_VARIABLE, NAMESPACE_VARIABLE,
    SERVER_VARIABLE, TOKEN_FILE_VARIABLE, TOKEN_VARIABLE,
};
use clap_complete::CompletionCandidate;
use goconductor_api_gateway::pages::PAGES;
use goconductor_client::{Client, Error, Listing, Workflow};
use goconductor_tls::TlsFiles;
use std::time::Duration;
use uuid::Uuid;

/// The maximum time that a person waits for candidates from the server.
const TIMEOUT: Duration = Duration::from_millis(800);

/// The maximum number of workflows, locks and dead letters that are offered: the newest ones of each. More do not fit on a
/// screen.
const MAX_CANDIDATES: u32 = 100;

type Candidates = Result<Vec<CompletionCandidate>, Error>;

/// Returns the ids of the newest workflows.
pub(crate) fn workflows() -> Vec<CompletionCandidate> {
    ask(async |client| {
        let workflows = newest_workflows(&client).await?;
        Ok(workflows.iter().enumerate().map(workflow).collect())
    })
}

/// Returns the ids of the newest workflows that have not ended.
pub(crate) fn active_workflows() -> Vec<CompletionCandidate> {
    ask(async |client| {
        let workflows = newest_workflows(&client).await?;
        Ok(workflows.iter().filter(|each| !each.status.is_final()).enumerate().map(workflow).collect())
    })
}

async fn newest_workflows(client: &Client) -> Result<Vec<Workflow>, Error> {
    let listing = Listing { filter: None, page_size: Some(MAX_CANDIDATES), page_token: None };
    Ok(client.workflows(&listing).await?.value.workflows)
}

/// Keeps the order of the list.
fn workflow((nth, workflow): (usize, &Workflow)) -> CompletionCandidate {
    let help = format!("{} {}", workflow.definition, workflow.status);
    CompletionCandidate::new(&workflow.id).help(Some(help.into())).display_order(Some(nth))
}

/// Returns the ids of the newest batches.
pub(crate) fn batches() -> Vec<CompletionCandidate> {
    ask(async |client| {
        let batches = client.batches(Some(MAX_CANDIDATES), None).await?.value.batches;
        let candidate = |(nth, batch): (usize, &goconductor_client::Batch)| {
            let help = format!("{} {}", batch.operation, batch.status);
            CompletionCandidate::new(&batch.id).help(Some(help.into())).display_order(Some(nth))
        };
        Ok(batches.iter().enumerate().map(candidate).collect())
    })
}

/// Returns the steps of the workflow whose id is on the command line.
pub(crate) fn steps() -> Vec<CompletionCandidate> {
    let Some(id) = words().iter().rev().find_map(|word| Uuid::try_parse(word).ok()) else {
        return Vec::new();
    };
    ask(async |client| {
        let workflow = client.workflow(&id.to_string()).await?.value;
        let candidate = |(nth, step): (usize, &goconductor_client::Step)| {
            CompletionCandidate::new(&step.name)
                .help(Some(step.status.clone().into()))
                .display_order(Some(nth))
        };
        Ok(workflow.steps.iter().enumerate().map(candidate).collect())
    })
}

/// Returns the names of the definitions.
pub(crate) fn definitions() -> Vec<CompletionCandidate> {
    ask(async |client| {
        let definitions = client.definitions().await?.value.definitions;
        let candidate = |definition: goconductor_client::DefinitionRecord| {
            CompletionCandidate::new(definition.name).help(definition.title.map(Into::into))
        };
        Ok(definitions.into_iter().map(candidate).collect())
    })
}

/// Returns the names of the services.
pub(crate) fn services() -> Vec<CompletionCandidate> {
    ask(async |client| Ok(names(client.services().await?.value.services.into_iter().map(|each| each.name))))
}

/// Returns the keys of held locks.
pub(crate) fn locks() -> Vec<CompletionCandidate> {
    ask(async |client| {
        let locks = client.locks(Some(MAX_CANDIDATES), None).await?.value.locks;
        let candidate =
            |lock: goconductor_client::Lock| CompletionCandidate::new(lock.key).help(Some(lock.owner.into()));
        Ok(locks.into_iter().map(candidate).collect())
    })
}

/// Returns the names of schedules.
pub(crate) fn schedules() -> Vec<CompletionCandidate> {
    ask(async |client| {
        let schedules = client.schedules(Some(MAX_CANDIDATES), None).await?.value.schedules;
        Ok(names(schedules.into_iter().map(|each| each.name)))
    })
}

/// Returns the names of secrets.
pub(crate) fn secrets() -> Vec<CompletionCandidate> {
    ask(async |client| {
        let secrets = client.secrets(Some(MAX_CANDIDATES), None).await?.value.secrets;
        Ok(names(secrets.into_iter().map(|each| each.name)))
    })
}

/// Returns the names of the elections that have a leader.
pub(crate) fn elections() -> Vec<CompletionCandidate> {
    ask(async |client| Ok(names(client.elections().await?.value.elections.into_iter().map(|each| each.name))))
}

/// Returns the ids of the newest dead letters.
pub(crate) fn dead_letters() -> Vec<CompletionCandidate> {
    ask(async |client| {
        let letters = client.dead_letters(Some(MAX_CANDIDATES), None).await?.value.dead_letters;
        Ok(names(letters.into_iter().map(|each| each.id)))
    })
}

/// Returns the error codes, which need no server.
pub(crate) fn error_codes() -> Vec<CompletionCandidate> {
    PAGES.iter().map(|page| CompletionCandidate::new(page.code).help(Some(page.title.into()))).collect()
}

fn names(names: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    names.map(CompletionCandidate::new).collect()
}

/// Asks the server, and returns nothing if it does not answer in time.
fn ask(question: impl AsyncFnOnce(Client) -> Candidates) -> Vec<CompletionCandidate> {
    let words = words();
    let value = |option: &str, variable: &str, default: &str| {
        let variable = || std::env::var(variable).ok().filter(|value| !value.is_empty());
        option_of(&words, option).or_else(variable).unwrap_or_else(|| default.to_owned())
    };
    let server = value("--server", SERVER_VARIABLE, DEFAULT_SERVER);
    let namespace = value("--namespace", NAMESPACE_VARIABLE, DEFAULT_NAMESPACE);
    let token = || {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let token = option_of(&words, "--access-token").or_else(|| variable(TOKEN_VARIABLE));
        let file = || option_of(&words, "--token-file").or_else(|| variable(TOKEN_FILE_VARIABLE));
        token.or_else(|| std::fs::read_to_string(file()?).ok())
    };
    let file = |option: &str, variable: &str| {
        option_of(&words, option).map(Into::into).or_else(|| std::env::var_os(variable).map(Into::into))
    };
    let files = TlsFiles {
        ca_file: file("--ca", CA_VARIABLE),
        certificate_file: file("--cert", CERT_VARIABLE),
        key_file: file("--key", KEY_VARIABLE),
    };
    let client = connect::client(&server, &namespace, files, |tls| tls).ok();
    let client = client.and_then(|client| match token() {
        Some(token) => client.with_token(&token).ok(),
        None => Some(client),
    });
    let (Some(client), Ok(runtime)) =
        (client, tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build())
    else {
        return Vec::new();
    };
    let answer = runtime.block_on(async { tokio::time::timeout(TIMEOUT, question(client)).await });
    // Do not wait for a lookup of the name of the server.
    runtime.shutdown_background();
    answer.ok().and_then(Result::ok).unwrap_or_default()
}

/// Returns the words of the command line that is completed. The script passes them after `--`.
fn words() -> Vec<String> {
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    words.skip_while(|word| word != "--").skip(1).collect()
}

/// Returns the value of an option, from `--option value` or `--option=value`.
fn option_of(words: &[String], option: &str) -> Option<String> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.strip_prefix(option) {
            Some("") => return words.next().cloned(),
            Some(rest) if rest.starts_with('=') => return rest.strip_prefix('=').map(str::to_owned),
            Some(_) | None => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_of_an_option_is_found_on_the_line() {
        for (line, expected) in [
            ("goconductor workflow describe", None),
            ("goconductor --server http://h:1 workflow describe", Some("http://h:1")),
            ("goconductor workflow describe --server=http://h:1", Some("http://h:1")),
            ("goconductor --servers x --server y", Some("y")),
            ("goconductor workflow --server", None),
        ] {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            assert_eq!(option_of(&words, "--server").as_deref(), expected, "{line}");
        }
    }
}
