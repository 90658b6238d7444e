//! Topics that nobody needs any more: of something that was only tried out.

use super::ANSWER;
use super::client::configuration;
use crate::Error;
use crate::settings::kafka::Settings;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;

/// Removes all topics that begin with the prefix of these settings, with what they hold, and the consumers'
/// groups of the same names; how many topics there were.
///
/// # Errors
/// When the brokers don't do it.
pub async fn remove_topics(settings: &Settings) -> Result<usize, Error> {
    settings.check()?;
    let unavailable = |reason: String| Error::Unavailable { reason };
    let admin: AdminClient<DefaultClientContext> =
        settings.client().create().map_err(|error| configuration(&error))?;
    let begin = format!("{}.", settings.prefix);
    let (admin, names) = tokio::task::spawn_blocking(move || {
        let all = admin.inner().fetch_metadata(None, ANSWER)?;
        let names = all.topics().iter().map(|topic| topic.name().to_owned());
        let names: Vec<String> = names.filter(|name| name.starts_with(&begin)).collect();
        Ok::<_, rdkafka::error::KafkaError>((admin, names))
    })
    .await
    .map_err(|error| unavailable(error.to_string()))?
    .map_err(|error| unavailable(error.to_string()))?;
    if names.is_empty() {
        return Ok(0);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let options = AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER));
    let removed = admin.delete_topics(&names, &options).await;
    for each in removed.map_err(|error| unavailable(error.to_string()))? {
        each.map_err(|(name, code)| unavailable(format!("the topic {name} can't be removed: {code}")))?;
    }
    // One that is not empty yet, or not there, goes by itself.
    drop(admin.delete_groups(&names, &options).await);
    Ok(names.len())
}
