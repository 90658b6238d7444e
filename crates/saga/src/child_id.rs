//! Ids that definitions give to children.

use crate::{Expressions, Failure, Json, MAX_KEY_CHARS, Plan, Scope, State, StepIndex, is_idempotency_key};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};

impl Plan {
    /// Returns the id that a step gives its child, or `None` if it gives none.
    ///
    /// # Errors
    /// Returns a failure if the expression has no value, or if the value cannot be an idempotency key.
    pub fn child_id(
        &self,
        state: &State,
        index: StepIndex,
        expressions: &dyn Expressions,
    ) -> Result<Option<String>, Failure> {
        let child = self.step(index).and_then(|step| step.action.child());
        let Some(template) = child.and_then(|child| child.id.as_ref()) else { return Ok(None) };
        let value = template.render(expressions, &Scope::of_instance(self, state, index));
        let value = value.map_err(|error| Failure::of("INPUT_EXPRESSION_FAILED", error.to_string()))?;
        let text = match value {
            Json::String(text) => text,
            number @ Json::Number(_) => number.to_string(),
            Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => {
                let message = "the id of the child is neither a text nor a number";
                return Err(Failure::of("CHILD_ID", message.to_owned()));
            }
        };
        if !is_idempotency_key(&text) {
            let message = format!(
                "the id of the child must have 1 to {MAX_KEY_CHARS} characters and no control characters, and this one \
                 has {}",
                text.chars().count()
            );
            return Err(Failure::of("CHILD_ID", message));
        }
        Ok(Some(text))
    }
}
