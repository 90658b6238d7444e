//! The graph of a JSON Schema: which schemas apply to the same value, and which apply to its children.

use super::pattern;
use super::rates::WorkRates;
use goconductor_saga::Json;
use referencing::{Draft, Registry, Resolver, ResourceRef, Retrieve, Uri};
use serde_json::Map;
use std::collections::{BTreeMap, HashMap};

/// The base URI of a schema without `$id`.
const BASE_URI: &str = "json-schema:///";
/// Hosts of the schemas that describe JSON Schema itself. Their recursion has no useful bound.
const META_SCHEMAS: [&str; 2] = ["http://json-schema.org/", "https://json-schema.org/"];

/// A schema of the graph. Numbers are indexes into [`SchemaGraph::vertices`].
#[derive(Debug, Default)]
pub(super) struct SchemaVertex {
    /// Schemas that apply to the same value: `allOf`, `anyOf`, `$ref` and others.
    pub(super) same: Vec<usize>,
    /// The schema of each named property.
    pub(super) properties: BTreeMap<String, usize>,
    /// Schemas that may apply to any property.
    pub(super) each_property: Vec<usize>,
    /// The schema of the properties without a name in `properties`.
    pub(super) other_properties: Option<usize>,
    /// The schemas of the first items.
    pub(super) positions: Vec<usize>,
    /// Schemas that may apply to any item.
    pub(super) each_item: Vec<usize>,
    /// The schema of the items after `positions`.
    pub(super) other_items: Option<usize>,
    /// The work of the schema's own keywords on one value.
    pub(super) rates: WorkRates,
    /// Whether `unevaluatedProperties` or `unevaluatedItems` evaluates the schemas of `same` again.
    pub(super) evaluates_again: bool,
}

/// The schemas that can be reached from the root, which is the first one.
#[derive(Debug)]
pub(super) struct SchemaGraph {
    pub(super) vertices: Vec<SchemaVertex>,
    /// Whether a failure of one schema collects the failures of alternatives.
    pub(super) has_alternatives: bool,
}

impl SchemaGraph {
    /// Builds the graph of a valid schema.
    ///
    /// # Errors
    /// Returns the reason if a reference has no target or leads outside of the schema.
    pub(super) fn new(schema: &Json) -> Result<Self, String> {
        let invalid = |_| "`$id` or `$schema` is not valid: use an absolute URI, or leave it out".to_owned();
        let builder = Registry::new().retriever(Offline).add(BASE_URI, schema).map_err(invalid)?;
        let registry = builder.prepare().map_err(|_| unresolved(schema))?;
        let base = referencing::uri::from_str(BASE_URI).map_err(invalid)?;
        let resolver = registry.resolver(base);
        let draft = Draft::default().detect(schema);
        let mut walk = SchemaWalk::default();
        walk.dynamic_anchors(schema, &resolver, draft)?;
        walk.vertex(schema, &resolver, draft)?;
        while let Some((index, schema, resolver, draft)) = walk.pending.pop() {
            let mut vertex = SchemaVertex { rates: WorkRates::ONE, ..SchemaVertex::default() };
            if let Json::Object(keywords) = schema {
                for (keyword, value) in keywords {
                    walk.keyword(&mut vertex, (keyword, value), &resolver, draft)?;
                }
            }
            if let Some(place) = walk.vertices.get_mut(index) {
                *place = vertex;
            }
        }
        Ok(Self { vertices: walk.vertices, has_alternatives: walk.has_alternatives })
    }
}

/// Describes the first reference that leads outside of the schema or nowhere.
fn unresolved(schema: &Json) -> String {
    fn find<'s>(root: &Json, value: &'s Json) -> Option<&'s str> {
        let is_unresolved = |reference: &&str| match reference.strip_prefix('#') {
            Some(fragment) => fragment.starts_with('/') && root.pointer(fragment).is_none(),
            None => true,
        };
        match value {
            Json::Object(object) => {
                let own = object.get("$ref").and_then(Json::as_str).filter(is_unresolved);
                own.or_else(|| object.values().find_map(|value| find(root, value)))
            }
            Json::Array(items) => items.iter().find_map(|value| find(root, value)),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => None,
        }
    }
    match find(schema, schema) {
        Some(reference) if reference.starts_with('#') => nowhere("$ref", reference),
        Some(reference) => outside("$ref", reference),
        None => "`$id` or `$schema` is not known: leave it out".to_owned(),
    }
}

fn nowhere(keyword: &str, reference: &str) -> String {
    format!("`{keyword}` to `{reference}` has no target: define it in `$defs`")
}

fn outside(keyword: &str, reference: &str) -> String {
    format!("`{keyword}` to `{reference}` leads outside of the schema: copy what it refers to into `$defs`")
}

/// Refuses to fetch a schema.
struct Offline;

impl Retrieve for Offline {
    fn retrieve(&self, _: &Uri<String>) -> Result<Json, Box<dyn std::error::Error + Send + Sync>> {
        Err("schemas are not fetched".into())
    }
}

/// A schema, with the resolver of its references.
type PlacedSchema<'r> = (&'r Json, Resolver<'r>, Draft);

#[derive(Default)]
struct SchemaWalk<'r> {
    vertices: Vec<SchemaVertex>,
    /// The vertex of each schema, by its address in the document.
    known: HashMap<*const Json, usize>,
    pending: Vec<(usize, &'r Json, Resolver<'r>, Draft)>,
    /// The schemas with a `$dynamicAnchor`, by its name, and with `$recursiveAnchor`, by `#`.
    anchors: BTreeMap<String, Vec<PlacedSchema<'r>>>,
    has_alternatives: bool,
}

impl<'r> SchemaWalk<'r> {
    /// Records every schema that a dynamic reference may lead to.
    fn dynamic_anchors(
        &mut self,
        value: &'r Json,
        resolver: &Resolver<'r>,
        draft: Draft,
    ) -> Result<(), String> {
        match value {
            Json::Object(object) => {
                let resolver = enter(value, resolver, draft)?;
                let name = match object.get("$dynamicAnchor") {
                    Some(Json::String(name)) => Some(name.as_str()),
                    Some(_) | None => {
                        (object.get("$recursiveAnchor") == Some(&Json::Bool(true))).then_some("#")
                    }
                };
                if let Some(name) = name {
                    let place = (value, resolver.clone(), draft);
                    self.anchors.entry(name.to_owned()).or_default().push(place);
                }
                object.values().try_for_each(|value| self.dynamic_anchors(value, &resolver, draft))
            }
            Json::Array(items) => {
                items.iter().try_for_each(|value| self.dynamic_anchors(value, resolver, draft))
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => Ok(()),
        }
    }

    /// Returns the vertex of a schema.
    fn vertex(&mut self, schema: &'r Json, resolver: &Resolver<'r>, draft: Draft) -> Result<usize, String> {
        let next = self.vertices.len();
        let index = *self.known.entry(std::ptr::from_ref(schema)).or_insert(next);
        if index == next {
            let draft = draft.detect(schema);
            self.pending.push((index, schema, enter(schema, resolver, draft)?, draft));
            self.vertices.push(SchemaVertex::default());
        }
        Ok(index)
    }

    /// Adds the effect of one keyword. A keyword has its effect in every draft, which can only raise the bound.
    fn keyword(
        &mut self,
        vertex: &mut SchemaVertex,
        (keyword, value): (&str, &'r Json),
        resolver: &Resolver<'r>,
        draft: Draft,
    ) -> Result<(), String> {
        let mut schema = |value| self.vertex(value, resolver, draft);
        match (keyword, value) {
            ("allOf" | "anyOf" | "oneOf", Json::Array(items)) => {
                for item in items {
                    vertex.same.push(schema(item)?);
                }
                self.has_alternatives |= keyword != "allOf";
            }
            ("not" | "if" | "then" | "else", value) => {
                vertex.same.push(schema(value)?);
                // The failure of a `not` has a copy of its schema.
                let copied = if keyword == "not" { count(value) / 4 } else { 0 };
                vertex.rates.checks = vertex.rates.checks.saturating_add(copied);
            }
            ("dependentSchemas" | "dependencies", Json::Object(entries)) => {
                for value in entries.values().filter(|value| !value.is_array()) {
                    vertex.same.push(schema(value)?);
                }
            }
            ("$ref" | "$dynamicRef" | "$recursiveRef", Json::String(reference)) => {
                self.reference(vertex, keyword, reference, resolver)?;
            }
            ("properties", Json::Object(entries)) => {
                for (name, value) in entries {
                    vertex.properties.insert(name.clone(), schema(value)?);
                }
                vertex.rates.add_checks(entries.len() / 8);
            }
            ("patternProperties", Json::Object(entries)) => {
                for (pattern, value) in entries {
                    vertex.each_property.push(self.vertex(value, resolver, draft)?);
                    self.pattern_vertex(vertex, pattern);
                }
            }
            ("propertyNames" | "unevaluatedProperties", value) => {
                vertex.each_property.push(schema(value)?);
                vertex.evaluates_again |= keyword == "unevaluatedProperties";
            }
            ("additionalProperties", value) => vertex.other_properties = Some(schema(value)?),
            ("prefixItems" | "items", Json::Array(items)) => {
                for item in items {
                    vertex.positions.push(schema(item)?);
                }
            }
            // The first is that of `prefixItems`, the second that of a list in `items`.
            ("items" | "additionalItems", value) => vertex.other_items = Some(schema(value)?),
            ("contains" | "unevaluatedItems", value) => {
                vertex.each_item.push(schema(value)?);
                vertex.evaluates_again |= keyword == "unevaluatedItems";
            }
            _ => own_work(&mut vertex.rates, keyword, value),
        }
        Ok(())
    }

    fn reference(
        &mut self,
        vertex: &mut SchemaVertex,
        keyword: &str,
        reference: &str,
        resolver: &Resolver<'r>,
    ) -> Result<(), String> {
        let resolved = resolver.lookup(reference).map_err(|_| nowhere(keyword, reference))?;
        let (contents, target, draft) = resolved.into_inner();
        let uri = target.base_uri();
        if META_SCHEMAS.iter().any(|host| uri.as_str().starts_with(host)) {
            return Err(outside(keyword, reference));
        }
        vertex.same.push(self.vertex(contents, &target, draft)?);
        let anchor = match keyword {
            "$dynamicRef" => reference.rsplit_once('#').map(|(_, anchor)| anchor),
            "$recursiveRef" => Some("#"),
            _ => None,
        };
        for (contents, resolver, draft) in
            anchor.and_then(|anchor| self.anchors.get(anchor)).cloned().unwrap_or_default()
        {
            let index = self.vertex(contents, &resolver, draft)?;
            if !vertex.same.contains(&index) {
                vertex.same.push(index);
            }
        }
        Ok(())
    }

    /// Adds the match of a pattern with the name of each property.
    fn pattern_vertex(&mut self, vertex: &mut SchemaVertex, pattern: &str) {
        let rates = WorkRates { text: pattern::work_per_byte(pattern), ..WorkRates::ONE };
        vertex.each_property.push(self.vertices.len());
        self.vertices.push(SchemaVertex { rates, ..SchemaVertex::default() });
    }
}

/// Returns the resolver of the references in a schema.
fn enter<'r>(schema: &Json, resolver: &Resolver<'r>, draft: Draft) -> Result<Resolver<'r>, String> {
    let resource = ResourceRef::new(schema, draft);
    resolver.in_subresource(resource).map_err(|_| "`$id` is not a valid URI: leave it out".to_owned())
}

/// Adds the work of a keyword without subschemas.
fn own_work(rates: &mut WorkRates, keyword: &str, value: &Json) {
    match (keyword, value) {
        ("enum" | "const", value) => {
            rates.checks = rates.checks.saturating_add(count(value) / 4 + text_bytes(value) / 1024);
        }
        ("required" | "dependentRequired", Json::Array(_) | Json::Object(_)) => {
            rates.checks = rates.checks.saturating_add(count(value) / 4);
        }
        ("pattern", Json::String(pattern)) => {
            rates.text = rates.text.saturating_add(pattern::work_per_byte(pattern));
            rates.add_checks(pattern.len() / 64);
        }
        ("format", Json::String(format)) => {
            // The format `regex` compiles the text of the input.
            let rate = if format == "regex" { 64 } else { 2 };
            rates.text = rates.text.saturating_add(rate);
        }
        ("minLength" | "maxLength" | "contentEncoding" | "contentMediaType", _) => {
            rates.text = rates.text.saturating_add(1);
        }
        ("uniqueItems", Json::Bool(true)) => rates.below = rates.below.saturating_add(4),
        _ => {}
    }
}

/// Returns the number of values in a JSON value.
pub(super) fn count(value: &Json) -> u64 {
    let inner = |values: &mut dyn Iterator<Item = &Json>| values.map(count).fold(1, u64::saturating_add);
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => 1,
        Json::Array(items) => inner(&mut items.iter()),
        Json::Object(entries) => inner(&mut entries.values()),
    }
}

fn text_bytes(value: &Json) -> u64 {
    let bytes = |text: &str| u64::try_from(text.len()).unwrap_or(u64::MAX);
    let object = |entries: &Map<String, Json>| {
        entries.iter().map(|(key, value)| bytes(key).saturating_add(text_bytes(value))).sum()
    };
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) => 0,
        Json::String(text) => bytes(text),
        Json::Array(items) => items.iter().map(text_bytes).sum(),
        Json::Object(entries) => object(entries),
    }
}
