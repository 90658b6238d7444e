//! The names of environment variables.

use super::source::ENV_PREFIX;

/// Separator between the levels of a name.
const LEVEL: &str = "__";
/// The section whose names are names of headers.
const HEADERS: [&str; 3] = ["telemetry", "otlp", "headers"];

/// Returns the dotted path of a variable: `GOCONDUCTOR_STATE_STORE__BACKEND` is `state_store.backend`. The names of
/// services and headers have no underscore and a variable has no hyphen, so in them an underscore stands for a hyphen.
pub(super) fn path_of(variable: &str) -> String {
    let name = variable.strip_prefix(ENV_PREFIX).unwrap_or(variable).to_ascii_lowercase();
    let mut levels: Vec<String> = name.split(LEVEL).map(str::to_owned).collect();
    match levels.as_mut_slice() {
        [first, service, third, fourth, header]
            if [&**first, &**third, &**fourth] == ["services", "http", "headers"] =>
        {
            *service = service.replace('_', "-");
            *header = header.replace('_', "-");
        }
        [first, service, ..] if first == "services" => *service = service.replace('_', "-"),
        [first, second, third, header] if [&**first, &**second, &**third] == HEADERS => {
            *header = header.replace('_', "-");
        }
        _ => {}
    }
    levels.join(".")
}

/// Returns the variable of a dotted path.
pub(super) fn variable_of(path: &str) -> String {
    format!("{ENV_PREFIX}{}", path.replace('.', LEVEL).replace('-', "_").to_ascii_uppercase())
}
