//! The document that a state passes to the next one, as templates over the names of our expressions.

use crate::json::{cel, expression, single};
use crate::path::{PathSegment, select};
use goconductor_saga::Json;
use std::collections::BTreeMap;

/// A document: a template, and fields that results have replaced.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StateData {
    base: Json,
    fields: BTreeMap<String, StateData>,
}

impl StateData {
    /// The input of the workflow.
    pub(crate) fn input() -> Self {
        Self::of(expression("input"))
    }

    /// The document of a template.
    pub(crate) fn of(base: Json) -> Self {
        Self { base, fields: BTreeMap::new() }
    }

    /// Returns whether the document has at most `limit` values.
    pub(crate) fn fits(&self, limit: usize) -> bool {
        let mut values = 0_usize;
        let (mut documents, mut templates) = (vec![self], Vec::new());
        while let Some(document) = documents.pop() {
            documents.extend(document.fields.values());
            templates.push(&document.base);
        }
        while let Some(template) = templates.pop() {
            values += 1;
            if values > limit {
                return false;
            }
            templates.extend(template.as_array().into_iter().flatten());
            templates.extend(template.as_object().into_iter().flat_map(|object| object.values()));
        }
        true
    }

    /// Replaces the value at a path. Returns `None` if the path has an index.
    pub(crate) fn with(mut self, path: &[PathSegment], value: Self) -> Option<Self> {
        match path {
            [] => return Some(value),
            [PathSegment::Index(_), ..] => return None,
            [PathSegment::Field(name), rest @ ..] => {
                let inner = match self.fields.remove(name) {
                    Some(inner) => inner,
                    None => Self::of(
                        navigate(&self.base, &[PathSegment::Field(name.clone())]).unwrap_or(Json::Null),
                    ),
                };
                let inner = inner.with(rest, value)?;
                self.fields.insert(name.clone(), inner);
            }
        }
        Some(self)
    }

    /// Returns the template of the value at a path, and whether it has another form than in the source: the fields of a
    /// value that is not known cannot be merged with others.
    pub(crate) fn get(&self, path: &[PathSegment]) -> Option<(Json, bool)> {
        if let [PathSegment::Field(name), rest @ ..] = path
            && let Some(inner) = self.fields.get(name)
        {
            return inner.get(rest);
        }
        if !path.is_empty() || self.fields.is_empty() {
            return navigate(&self.base, path).map(|value| (value, false));
        }
        let (mut object, mut changed) = match self.base.as_object() {
            Some(object) => (object.clone(), false),
            None if self.base.is_null() => (serde_json::Map::new(), false),
            None => ([("input".to_owned(), self.base.clone())].into_iter().collect(), true),
        };
        for (name, inner) in &self.fields {
            let (value, inner_changed) = inner.get(&[])?;
            changed |= inner_changed;
            object.insert(name.clone(), value);
        }
        Some((Json::Object(object), changed))
    }

    /// Joins the documents at the ends of branches. Of a value that differs, the first one that is not null is used.
    /// Returns `None` if that cannot be expressed.
    pub(crate) fn join(branches: &[Self]) -> Option<Self> {
        let [first, rest @ ..] = branches else { return None };
        if rest.iter().all(|each| each == first) {
            return Some(first.clone());
        }
        if branches.iter().all(|each| each.base == first.base) {
            let mut joined = Self::of(first.base.clone());
            for name in branches.iter().flat_map(|each| each.fields.keys()) {
                if joined.fields.contains_key(name) {
                    continue;
                }
                let known: Vec<Self> =
                    branches.iter().filter_map(|each| each.fields.get(name).cloned()).collect();
                joined.fields.insert(name.clone(), Self::join(&known)?);
            }
            return Some(joined);
        }
        let mut outputs = Vec::new();
        for each in branches {
            let text = single(each.base.as_str()?).filter(|_| each.fields.is_empty())?.to_owned();
            // Only the output of a step that was skipped is certainly null, and not an error.
            let is_output = text.starts_with("steps.") && text.ends_with(".output") && !text.contains(' ');
            if !is_output {
                return None;
            }
            if !outputs.contains(&text) {
                outputs.push(text);
            }
        }
        let last = outputs.pop()?;
        let joined =
            outputs.iter().rev().fold(last, |other, each| format!("{each} != null ? {each} : {other}"));
        Some(Self::of(expression(&joined)))
    }
}

/// Selects a value in a template. Returns `None` if the template has no such value.
pub(crate) fn navigate(template: &Json, path: &[PathSegment]) -> Option<Json> {
    let [first, rest @ ..] = path else { return Some(template.clone()) };
    if let Some(text) = template.as_str() {
        let expression_text = single(text)?;
        let simple = !expression_text.contains(' ');
        let base = if simple { expression_text.to_owned() } else { format!("({expression_text})") };
        return Some(expression(&select(&base, path)));
    }
    let inner = match first {
        PathSegment::Field(name) => template.get(name),
        PathSegment::Index(index) => template.get(index),
    };
    navigate(inner?, rest)
}

/// The expression of a value of a document.
pub(crate) fn cel_at(data: &StateData, path: &[PathSegment]) -> Option<String> {
    data.get(path).and_then(|(template, changed)| cel(&template).filter(|_| !changed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::parse;
    use serde_json::json;

    #[test]
    fn results_replace_fields() {
        let result = StateData::of(expression("steps.a.output"));
        let data = StateData::input().with(&parse("$.a.b").unwrap(), result.clone()).unwrap();
        let get = |path: &str| data.get(&parse(path).unwrap());
        assert_eq!(get("$.c"), Some((json!("${ input.c }"), false)));
        assert_eq!(get("$.a.c"), Some((json!("${ input.a.c }"), false)));
        assert_eq!(get("$.a.b.d"), Some((json!("${ steps.a.output.d }"), false)));
        assert_eq!(
            StateData::of(json!({"x": 1})).with(&parse("$.y").unwrap(), result).unwrap().get(&[]),
            Some((json!({"x": 1, "y": "${ steps.a.output }"}), false))
        );
        assert!(get("$").unwrap().1);
    }

    #[test]
    fn branches_are_joined() {
        let output = |step: &str| StateData::of(expression(&format!("steps.{step}.output")));
        let joined = StateData::join(&[output("a"), output("b"), output("a")]).unwrap();
        let text = "${ (steps.a.output != null ? steps.a.output : steps.b.output).c }";
        assert_eq!(joined.get(&parse("$.c").unwrap()), Some((json!(text), false)));
        assert_eq!(StateData::join(&[output("a"), StateData::of(json!(1))]), None);
    }
}
