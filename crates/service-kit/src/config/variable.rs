//! The names of environment variables.

use super::source::ENV_PREFIX;

/// Separator between the levels of a name.
const LEVEL: &str = "__";

/// Returns the dotted path of a variable: `GOCONDUCTOR_STATE_STORE__BACKEND` is `state_store.backend`. A service name
/// has no underscore and a variable has no hyphen, so in the name of a service an underscore stands for a hyphen.
pub(super) fn path_of(variable: &str) -> String {
    let name = variable.strip_prefix(ENV_PREFIX).unwrap_or(variable).to_ascii_lowercase();
    let mut levels: Vec<String> = name.split(LEVEL).map(str::to_owned).collect();
    if let [first, service, ..] = levels.as_mut_slice()
        && first == "services"
    {
        *service = service.replace('_', "-");
    }
    levels.join(".")
}

/// Returns the variable of a dotted path.
pub(super) fn variable_of(path: &str) -> String {
    format!("{ENV_PREFIX}{}", path.replace('.', LEVEL).replace('-', "_").to_ascii_uppercase())
}
