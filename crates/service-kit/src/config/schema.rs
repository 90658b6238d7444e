//! The JSON Schema of the configuration, for the YAML file and for the document of the API.
//!
//! The settings, their forms and their defaults are those that the reader reads. The descriptions are those of the
//! reference page, and a test compares both.

use super::Config;
use super::apply::apply_of;
use super::descriptions::SETTINGS;
use super::reader::SettingReader;
use super::secret_url::MASK;
use super::source::{Flag, Sources};
use super::value::SettingForm;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// The address of the schema.
const ID: &str = "https://goconductor.dev/schema/v1/config.json";
/// A name in a section whose keys the user chooses, in the paths of the reader and of the descriptions.
const NAMES: [(&str, &str); 3] = [("name", "NAME"), ("action", "ACTION"), ("header", "HEADER")];
/// Settings below such names. The reader reads them only if the configuration has them.
const SAMPLES: [(&str, &str); 10] = [
    ("access.bindings.name.namespaces", "name"),
    ("access.bindings.name.roles", "viewer"),
    ("access.bindings.name.services", "name"),
    ("access.bindings.name.subjects", "key:0"),
    ("access.roles.name.permissions", "workflows.read"),
    ("services.name.http.url", "http://127.0.0.1:9101"),
    ("services.name.http.headers.header", "secret://name"),
    ("services.name.actions.action.max_in_flight", "1"),
    ("telemetry.otlp.headers.name", "value"),
    ("telemetry.resource.name", "value"),
];

/// Returns the JSON Schema (2020-12) of the configuration. Each setting states in `x-apply` when a change takes effect:
/// `live`, `restart` or `file-only`.
#[must_use]
pub fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(build)
}

fn build() -> Value {
    let flag = |(path, value): (&str, &str)| Flag {
        path: path.to_owned(),
        value: value.to_owned(),
        name: String::new(),
    };
    let sources = Sources { flags: SAMPLES.map(flag).to_vec(), ..Sources::default() };
    let (forms, open) = match SettingReader::new(&sources, &[]) {
        Ok(mut reader) => {
            drop(Config::read(&mut reader));
            reader.into_forms()
        }
        // Unreachable: only a file is refused here.
        Err(_) => Default::default(),
    };
    let mut root = section(&forms, &open, "");
    if let Some(root) = root.as_object_mut() {
        root.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
        root.insert("$id".to_owned(), ID.into());
        root.insert("title".to_owned(), "Configuration of GoConductor".into());
        root.insert(
            "$defs".to_owned(),
            json!({"reference": {
                "description": "A value that is stored elsewhere",
                "type": "string",
                "pattern": "^(env|file|secret)://.",
            }}),
        );
    }
    root
}

/// Returns the schema of a section, or of the whole document if `path` is empty.
fn section(forms: &BTreeMap<String, SettingForm>, open: &BTreeSet<String>, path: &str) -> Value {
    let prefix = if path.is_empty() { String::new() } else { format!("{path}.") };
    let below = forms.keys().chain(open).filter_map(|known| known.strip_prefix(&prefix));
    let children: BTreeSet<&str> = below.filter_map(|rest| rest.split('.').next()).collect();
    let properties: Map<String, Value> = children
        .into_iter()
        .map(|child| {
            let path = format!("{prefix}{child}");
            let schema = match forms.get(&path) {
                Some(form) => setting(&path, form),
                None => section(forms, open, &path),
            };
            (child.to_owned(), schema)
        })
        .collect();
    if !open.contains(path) {
        return json!({"type": ["object", "null"], "additionalProperties": false, "properties": properties});
    }
    // The attributes of the resource are nested to any depth.
    let is_nested = path == "telemetry.resource";
    let of_each = properties.into_iter().next().map(|(_, schema)| schema).filter(|_| !is_nested);
    json!({"type": ["object", "null"], "additionalProperties": of_each.unwrap_or(Value::Bool(true))})
}

fn setting(path: &str, form: &SettingForm) -> Value {
    let is_text = form.schema == json!({"type": "string"});
    // Any text includes the references.
    let mut schema = match is_text {
        true => form.schema.clone(),
        false => json!({"anyOf": [form.schema, {"$ref": "#/$defs/reference"}]}),
    };
    let Some(keywords) = schema.as_object_mut() else { return schema };
    if let Some((_, _, description)) = SETTINGS.iter().find(|(known, ..)| *known == documented(path)) {
        keywords.insert("description".to_owned(), (*description).into());
    }
    if let Some(default) = form.default.as_ref().filter(|text| !text.is_empty() && *text != MASK) {
        let text = || Value::String(default.clone());
        let value =
            if form.is_bare { serde_json::from_str(default).unwrap_or_else(|_| text()) } else { text() };
        keywords.insert("default".to_owned(), value);
    }
    keywords.insert("x-apply".to_owned(), apply_of(path).as_str().into());
    schema
}

/// Returns the path of a setting in the reference page: `services.name.http.url` is `services.NAME.http.url`.
fn documented(path: &str) -> String {
    let names = |part: &str| {
        let name = NAMES.iter().find(|(sample, _)| *sample == part);
        name.map_or_else(|| part.to_owned(), |(_, name)| (*name).to_owned())
    };
    path.split('.').map(names).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(schema: &Value, path: &str, found: &mut BTreeMap<String, Value>) {
        if schema.get("x-apply").is_some() {
            found.insert(path.to_owned(), schema.clone());
            return;
        }
        let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        for (key, schema) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            leaves(schema, &join(key), found);
        }
        if let Some(schema) = schema.get("additionalProperties").filter(|schema| schema.is_object()) {
            let name = match path.rsplit('.').next() {
                Some("actions") => "ACTION",
                Some("headers") if path.starts_with("services.") => "HEADER",
                _ => "NAME",
            };
            leaves(schema, &join(name), found);
        }
    }

    #[test]
    fn schema_has_every_documented_setting_and_its_description() {
        let mut found = BTreeMap::new();
        leaves(schema(), "", &mut found);
        let documented: BTreeSet<&str> = SETTINGS.iter().map(|(path, ..)| *path).collect();
        let nested = BTreeSet::from(["telemetry.resource.NAME"]);
        let listed: BTreeSet<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(listed, &documented - &nested);
        for (path, schema) in &found {
            assert!(schema.get("description").is_some(), "{path} has no description");
        }
        let page_size = &found["limits.page_size"];
        assert_eq!(page_size["x-apply"], "live");
        assert_eq!(page_size["default"], 100);
        assert_eq!(page_size["anyOf"][0], json!({"type": "integer", "minimum": 1, "maximum": 1000}));
        assert_eq!(found["listen"]["x-apply"], "file-only");
        assert_eq!(found["election.backend"]["x-apply"], "live");
        assert_eq!(found["executor.redelivery"]["x-apply"], "restart");
    }
}
