//! Headers that may occur once.

use crate::error::{ApiResult, PARAMETER, Problem};
use axum::http::HeaderMap;

/// The longest accepted header value, in bytes.
pub(crate) const MAX_HEADER_BYTES: usize = 400;

/// Returns the text of a header that may occur once.
pub(crate) fn header_text<'h>(headers: &'h HeaderMap, name: &str) -> ApiResult<Option<&'h str>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().map(str::trim).filter(|text| (1..=MAX_HEADER_BYTES).contains(&text.len()));
    match (text, values.next()) {
        (Some(text), None) => Ok(Some(text)),
        (Some(_), Some(_)) => {
            Err(Problem::new(PARAMETER, format!("duplicate header {name}: send it at most once")))
        }
        (None, _) => {
            let detail = format!(
                "invalid header {name}: its value must be 1 to {MAX_HEADER_BYTES} visible ASCII characters"
            );
            Err(Problem::new(PARAMETER, detail))
        }
    }
}
