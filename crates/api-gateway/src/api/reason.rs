//! The reason of an operation: one type and one limit for bodies, queries and gRPC.

use crate::error::{ApiResult, Problem, REASON};

/// The longest reason, in characters. A reason can be part of a query, and a URL must fit into the headers of a request.
pub(crate) const MAX_REASON_CHARS: usize = 1000;

/// The reason of an operation, which is recorded: not blank, and at most [`MAX_REASON_CHARS`] characters.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OperationReason(String);

impl OperationReason {
    /// Parses a reason. A blank text is not accepted as a reason.
    fn parse(text: String) -> ApiResult<Option<Self>> {
        let length = text.chars().count();
        if length > MAX_REASON_CHARS {
            let detail = format!(
                "the reason has {length} characters, which is over the limit of {MAX_REASON_CHARS} characters"
            );
            return Err(Problem::new(REASON, detail.clone()).at("/reason", detail));
        }
        Ok((!text.trim().is_empty()).then_some(Self(text)))
    }
}

/// Checks an optional reason.
///
/// # Errors
/// Returns a [`Problem`] if the reason is too long.
pub(crate) fn optional_reason(reason: Option<String>) -> ApiResult<Option<String>> {
    let reason = reason.map(OperationReason::parse).transpose()?.flatten();
    Ok(reason.map(|reason| reason.0))
}

/// Checks a required reason.
///
/// # Errors
/// Returns a [`Problem`] if there is no reason, or if it is too long.
pub(crate) fn required_reason(reason: Option<String>) -> ApiResult<String> {
    optional_reason(reason)?.ok_or_else(|| {
        let detail = "a reason is required: the history records it";
        Problem::new(REASON, detail).at("/reason", detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_has_one_limit_in_characters() {
        let code =
            |reason: &str| required_reason(Some(reason.to_owned())).map_err(|found| found.into_body().code);
        assert_eq!(code("duplicate order"), Ok("duplicate order".to_owned()));
        let longest = "ä".repeat(MAX_REASON_CHARS);
        assert_eq!(code(&longest), Ok(longest.clone()));
        assert_eq!(code(&format!("{longest}.")), Err("GC2017"));
        assert_eq!(code(" \t"), Err("GC2017"));
        assert!(optional_reason(Some(" ".to_owned())).unwrap().is_none());
        assert!(optional_reason(None).unwrap().is_none());
    }
}
