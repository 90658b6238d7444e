//! Input and output of a state: `InputPath`, `Parameters`, `ResultSelector`, `ResultPath`, `OutputPath`.

use super::AslImporter;
use crate::data::{StateData, cel_at};
use crate::json::{literal, literals, single, text};
use crate::path::parse;
use goconductor_saga::Json;

impl AslImporter {
    /// The effective input of a state, before its parameters.
    pub(super) fn input(&mut self, path: &str, state: &Json, data: &StateData) -> StateData {
        self.filtered(path, state, "InputPath", data.clone())
    }

    /// Selects a part of a document by a key of the state.
    pub(super) fn filtered(&mut self, path: &str, state: &Json, key: &str, data: StateData) -> StateData {
        match state.get(key) {
            None => data,
            Some(Json::Null) => StateData::of(Json::Object(serde_json::Map::new())),
            Some(value) => match value.as_str() {
                Some("$") => data,
                other => {
                    let value = self.value(&format!("{path}/{key}"), other.unwrap_or_default(), &data);
                    StateData::of(value)
                }
            },
        }
    }

    pub(super) fn parameters(&mut self, path: &str, state: &Json, data: StateData) -> StateData {
        match state.get("Parameters") {
            Some(parameters) => {
                StateData::of(self.template(&format!("{path}/Parameters"), parameters, &data))
            }
            None => data,
        }
    }

    /// Applies the selector of the result.
    pub(super) fn selected(&mut self, path: &str, state: &Json, result: StateData) -> StateData {
        match state.get("ResultSelector") {
            Some(selector) => {
                StateData::of(self.template(&format!("{path}/ResultSelector"), selector, &result))
            }
            None => result,
        }
    }

    /// Puts the result into the document of the state.
    pub(super) fn finish(&mut self, path: &str, state: &Json, data: &mut StateData, result: StateData) {
        let input = self.input(path, state, data);
        let combined = match state.get("ResultPath") {
            Some(Json::Null) => Some(input),
            None => Some(result),
            Some(place) => {
                let place = place.as_str().and_then(parse);
                place.and_then(|place| input.with(&place, result))
            }
        };
        match combined {
            Some(combined) => {
                let combined = self.filtered(path, state, "OutputPath", combined);
                *data = self.build.bounded(path, combined);
            }
            None => {
                self.build.lost(&format!("{path}/ResultPath"), "the place of the result has no counterpart")
            }
        }
    }

    /// The whole document as the input of a step, or `None` if it is the input of the workflow.
    pub(super) fn whole(&mut self, path: &str, data: &StateData) -> Option<Json> {
        let (value, changed) = data.get(&[]).unwrap_or((Json::Null, false));
        if changed {
            let text = "the state receives the input of the workflow below `input`, because objects are not merged: write \
                        the fields that it needs as `input`";
            self.build.lost(path, text);
        }
        (value.as_str().and_then(single) != Some("input")).then_some(value)
    }

    /// Translates an object with keys that end with `.$`.
    pub(super) fn template(&mut self, path: &str, value: &Json, data: &StateData) -> Json {
        if let Some(items) = value.as_array() {
            return items.iter().map(|item| self.template(path, item, data)).collect();
        }
        let Some(object) = value.as_object() else { return literals(value) };
        let mut fields = serde_json::Map::new();
        for (key, value) in object {
            match (key.strip_suffix(".$"), value.as_str()) {
                (Some(key), Some(source)) => {
                    let value = self.value(&format!("{path}/{key}"), source, data);
                    fields.insert(key.to_owned(), value);
                }
                (_, _) => {
                    fields.insert(key.clone(), self.template(path, value, data));
                }
            }
        }
        Json::Object(fields)
    }

    /// Translates a path or an intrinsic function. A value without a counterpart is null.
    pub(super) fn value(&mut self, path: &str, source: &str, data: &StateData) -> Json {
        let found = if source.starts_with("$$") {
            context(source)
        } else if let Some(arguments) = source.strip_prefix("States.Format(") {
            arguments.strip_suffix(')').and_then(|arguments| self.formatted(arguments, data))
        } else {
            parse(source).and_then(|segments| data.get(&segments)).map(|(value, changed)| {
                if changed {
                    self.build.lost(
                        path,
                        "the input of the workflow is below `input`, because objects are not merged",
                    );
                }
                value
            })
        };
        found.unwrap_or_else(|| {
            self.build.lost(path, format!("`{source}` has no counterpart, and is null"));
            Json::Null
        })
    }

    /// The expression of a path.
    pub(super) fn cel(&self, source: &str, data: &StateData) -> Option<String> {
        if source.starts_with("$$") {
            return context(source)?.as_str().and_then(single).map(str::to_owned);
        }
        cel_at(data, &parse(source)?)
    }

    /// `States.Format('Order {} of {}', $.id, $.customer)`
    fn formatted(&self, arguments: &str, data: &StateData) -> Option<Json> {
        let (format, rest) = arguments.trim().strip_prefix('\'')?.split_once('\'')?;
        if format.contains('\\') {
            return None;
        }
        let mut values = rest.split(',').skip(1).map(|argument| self.cel(argument.trim(), data));
        let mut template = String::new();
        let mut parts = format.split("{}");
        template.push_str(&literal(parts.next()?));
        for part in parts {
            template.push_str(&format!("${{ {} }}{}", values.next()??, literal(part)));
        }
        values.next().is_none().then_some(Json::String(template))
    }
}

/// Values of the context object.
fn context(source: &str) -> Option<Json> {
    let cel = match source {
        "$$.Execution.Id" | "$$.Execution.Name" | "$$.Task.Token" => "workflow.id",
        "$$.Execution.StartTime" => "workflow.created_at",
        "$$.StateMachine.Name" => "workflow.definition",
        "$$.Execution.Input" => "input",
        "$$.Map.Item.Index" => "index",
        _ if source.starts_with("$$.Map.Item.Value") => {
            let path = parse(&format!("${}", source.strip_prefix("$$.Map.Item.Value")?))?;
            return Some(crate::json::expression(&crate::path::select("item", &path)));
        }
        _ => {
            let rest = source.strip_prefix("$$.Execution.Input")?;
            let path = parse(&format!("${rest}"))?;
            return Some(crate::json::expression(&crate::path::select("input", &path)));
        }
    };
    Some(crate::json::expression(cel))
}

/// The text of a parameter that must be known when the state machine is imported.
pub(super) fn literal_parameter<'a>(state: &'a Json, key: &str) -> Option<&'a str> {
    state.get("Parameters").and_then(|parameters| text(parameters, key))
}
