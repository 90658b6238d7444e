//! Removal of topics after a trial, such as a benchmark.

use super::client::configuration;
use super::limits::REQUEST_TIMEOUT;
use crate::Error;
use crate::settings::kafka::Settings;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;

/// Removes all topics whose names begin with the prefix of the settings, with their messages, and the consumer groups
/// of the same names. Returns the number of topics.
///
/// # Errors
/// Returns [`Error::Configuration`] if the settings do not work, and [`Error::Unavailable`] if the brokers do not
/// respond or refuse to remove a topic.
pub async fn remove_topics(settings: &Settings) -> Result<usize, Error> {
    settings.check()?;
    let admin: AdminClient<DefaultClientContext> =
        settings.client().create().map_err(|error| configuration(&error))?;
    let prefix = format!("{}.", settings.prefix);
    let (admin, names) = tokio::task::spawn_blocking(move || {
        let metadata = admin.inner().fetch_metadata(None, REQUEST_TIMEOUT)?;
        let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
        let names: Vec<String> = names.filter(|name| name.starts_with(&prefix)).collect();
        Ok::<_, rdkafka::error::KafkaError>((admin, names))
    })
    .await
    .map_err(|error| Error::unavailable("task that lists topics failed").with_source(error))?
    .map_err(|error| Error::unavailable("failed to list topics").with_source(error))?;
    if names.is_empty() {
        return Ok(0);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let options =
        AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT));
    let removed = admin.delete_topics(&names, &options).await;
    for each in removed.map_err(|error| Error::unavailable("failed to remove topics").with_source(error))? {
        each.map_err(|(name, code)| {
            Error::unavailable(format!("failed to remove topic {name}")).with_source(code)
        })?;
    }
    // A group that still has members, or does not exist, is not an error: Kafka expires it.
    drop(admin.delete_groups(&names, &options).await);
    Ok(names.len())
}
