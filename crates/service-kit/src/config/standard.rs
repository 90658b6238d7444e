//! The standard environment variables of OpenTelemetry. They are the weakest layer: every setting overrides them.
//!
//! These variables are usually set for many programs at once. Therefore a value that this program cannot use is
//! ignored and reported, as the specification of OpenTelemetry requires.

use super::source::Sources;
use percent_encoding::percent_decode_str;

/// Prefix of the standard variables.
pub(super) const STANDARD_PREFIX: &str = "OTEL_";

/// A setting that a standard variable sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StandardSetting {
    /// The dotted path of the setting.
    pub(super) path: String,
    /// The value.
    pub(super) value: String,
    /// The name of the variable.
    pub(super) variable: &'static str,
}

/// The form of the value of a variable.
enum Form {
    /// The value of one setting.
    Value,
    /// A list of names and values, which are the settings below a path.
    Pairs,
}

/// The variables and the settings that they stand for. A later one overrides an earlier one.
const VARIABLES: [(&str, Form, &str); 7] = [
    ("OTEL_SDK_DISABLED", Form::Value, "telemetry.otlp.enabled"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", Form::Value, "telemetry.otlp.endpoint"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", Form::Value, "telemetry.otlp.protocol"),
    ("OTEL_EXPORTER_OTLP_HEADERS", Form::Pairs, "telemetry.otlp.headers"),
    ("OTEL_TRACES_SAMPLER_ARG", Form::Value, "telemetry.traces.sampling"),
    ("OTEL_RESOURCE_ATTRIBUTES", Form::Pairs, "telemetry.resource"),
    ("OTEL_SERVICE_NAME", Form::Value, "telemetry.resource.service.name"),
];

/// Returns the settings of the standard variables. A build without OTLP has none.
pub(super) fn settings(sources: &Sources) -> Vec<StandardSetting> {
    let mut settings = Vec::new();
    if !cfg!(feature = "otlp") {
        return settings;
    }
    for (variable, form, path) in VARIABLES {
        // An empty value is the same as none, by the specification.
        let Some(value) = sources.variable(variable).map(str::trim).filter(|value| !value.is_empty()) else {
            continue;
        };
        let mut add = |path: String, value: String| {
            settings.push(StandardSetting { path, value, variable });
        };
        match form {
            Form::Value => add(path.to_owned(), value_of(variable, value)),
            Form::Pairs => {
                for pair in value.split(',').filter(|pair| !pair.trim().is_empty()) {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    let (name, value) = (name.trim(), percent_decode_str(value.trim()).decode_utf8_lossy());
                    // No setting accepts an empty value, so the variable of a pair without a name is reported.
                    let value = if name.is_empty() { String::new() } else { value.into_owned() };
                    add(format!("{path}.{name}"), value);
                }
            }
        }
    }
    settings
}

/// Returns the value of the setting. One variable has the opposite meaning of its setting.
fn value_of(variable: &str, value: &str) -> String {
    match (variable, value.to_ascii_lowercase().as_str()) {
        ("OTEL_SDK_DISABLED", "true") => "false".to_owned(),
        // By the specification, every other value means that the SDK is enabled.
        ("OTEL_SDK_DISABLED", _) => "true".to_owned(),
        _ => value.to_owned(),
    }
}
