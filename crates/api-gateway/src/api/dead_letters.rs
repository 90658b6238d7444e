//! Dead letters: messages that no process could handle.

use super::{Api, CallContext, PageRequest, cut_to_page, invalid_page_token};
use crate::audit_notes;
use crate::error::{ApiResult, NO_DEAD_LETTER, Problem, UNAVAILABLE};
use crate::time::Time;
use bytes::Bytes;
use goconductor_queue::{Lane, Message, Topic};
use goconductor_saga::Timestamp;
use goconductor_store::{DeadLetter, DeadLetterPosition};
use goconductor_transition::clock;
use serde::Serialize;
use utoipa::ToSchema;

/// A dead letter.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLetterView {
    pub(crate) id: String,
    /// Topic of the message.
    pub(crate) topic: String,
    /// Key of the message in its topic.
    pub(crate) key: String,
    /// Reason why no process could handle the message.
    pub(crate) reason: String,
    /// Time at which the message became a dead letter.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Time,
    /// Size of the payload.
    pub(crate) bytes: usize,
    /// Payload as text. Bytes that are not UTF-8 are replaced, and fields of `encryption.redact` are masked.
    pub(crate) payload: String,
}

/// A page of dead letters.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLetterPage {
    /// Dead letters, newest first.
    pub(crate) dead_letters: Vec<DeadLetterView>,
    /// Token of the next page. Empty on the last page.
    pub(crate) next_page_token: String,
}

impl Api {
    /// Lists the dead letters, newest first.
    pub(crate) async fn list_dead_letters(
        &self,
        context: &CallContext,
        page: &PageRequest,
    ) -> ApiResult<DeadLetterPage> {
        let size = self.page_size(page.size)?;
        let before = page.token().map(parse_page_token).transpose()?;
        let mut letters = self.store().dead_letters(before.as_ref(), size.saturating_add(1)).await?;
        let is_more = cut_to_page(&mut letters, size);
        let last = letters.last().filter(|_| is_more).map(|letter| format!("{}-{}", letter.at.0, letter.id));
        let dead_letters = letters.into_iter().map(|letter| self.letter_view(context, letter)).collect();
        Ok(DeadLetterPage { dead_letters, next_page_token: last.unwrap_or_default() })
    }

    /// Returns a dead letter.
    pub(crate) async fn dead_letter(&self, context: &CallContext, id: &str) -> ApiResult<DeadLetterView> {
        Ok(self.letter_view(context, self.load_dead_letter(id).await?))
    }

    /// Deletes a dead letter.
    pub(crate) async fn delete_dead_letter(&self, id: &str) -> ApiResult<()> {
        audit_notes::target("dead_letter", id);
        if self.store().delete_dead_letter(id).await? { Ok(()) } else { Err(not_found(id)) }
    }

    /// Publishes a dead letter to its topic again.
    pub(crate) async fn requeue_dead_letter(
        &self,
        context: &CallContext,
        id: &str,
    ) -> ApiResult<DeadLetterView> {
        audit_notes::target("dead_letter", id);
        let letter = self.load_dead_letter(id).await?;
        let message = Message {
            key: letter.key.clone(),
            payload: Bytes::from(letter.payload.clone()),
            published_at_ms: clock::now().as_millis(),
        };
        let published = self.engine.queue().publish(&topic(&letter.topic), vec![message]).await;
        published.map_err(|error| {
            Problem::new(UNAVAILABLE, format!("failed to publish the message to {}: {error}", letter.topic))
        })?;
        // Deleted after the publish: a duplicate is harmless, a lost message is not.
        self.store().delete_dead_letter(id).await?;
        Ok(self.letter_view(context, letter))
    }

    fn letter_view(&self, context: &CallContext, letter: DeadLetter) -> DeadLetterView {
        let payload = self.redaction.for_operator(context).message(&letter.payload);
        view(letter, payload)
    }

    async fn load_dead_letter(&self, id: &str) -> ApiResult<DeadLetter> {
        self.store().dead_letter(id).await?.ok_or_else(|| not_found(id))
    }
}

fn parse_page_token(token: &str) -> ApiResult<DeadLetterPosition> {
    let (at, id) = token.split_once('-').ok_or_else(invalid_page_token)?;
    let at = Timestamp(at.parse().map_err(|_| invalid_page_token())?);
    Ok(DeadLetterPosition { at, id: id.to_owned() })
}

/// Parses the printed form of a topic.
fn topic(printed: &str) -> Topic {
    match printed.strip_suffix(".compensate") {
        Some(service) => Topic { service: service.to_owned(), lane: Lane::Compensate },
        None => Topic { service: printed.to_owned(), lane: Lane::Execute },
    }
}

fn not_found(id: &str) -> Problem {
    Problem::new(NO_DEAD_LETTER, format!("dead letter {id} not found"))
}

fn view(letter: DeadLetter, payload: String) -> DeadLetterView {
    DeadLetterView {
        id: letter.id,
        topic: letter.topic,
        key: letter.key,
        reason: letter.reason,
        at: letter.at.into(),
        bytes: letter.payload.len(),
        payload,
    }
}
