//! Definitions: apply, read, and read as a graph.

use super::graph::{Graph, graph};
use super::{Api, CallContext};
use crate::audit_notes;
use crate::error::{ApiResult, DEFINITION, Location, NO_DEFINITION, Problem};
use crate::time::Time;
use bytes::Bytes;
use goconductor_definition::{Checked, ChildReference, Format, Limits};
use goconductor_saga::{Action, Call, Definition, Json, Kind, Side, Status, decode_text};
use goconductor_store::{
    Comparison, DefinitionName, DefinitionRecord, Field, Filter, FilterValue, NewDefinition,
};
use serde::Serialize;
use utoipa::ToSchema;

/// A request to apply a definition.
#[derive(Debug)]
pub(crate) struct ApplyDefinition {
    /// The name of the resource. The source must have the same name.
    pub(crate) name: String,
    pub(crate) format: Format,
    pub(crate) source: Bytes,
    /// Whether the definition is only checked and not stored.
    pub(crate) dry_run: bool,
}

/// An applied definition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AppliedDefinition {
    pub(crate) name: String,
    /// The newest version.
    pub(crate) version: u32,
    /// Digest of the content. Definitions with equal content have equal digests in both formats.
    pub(crate) digest: String,
    /// Parts that were accepted and are probably mistakes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<Location>,
    /// Whether the request created the version.
    #[serde(skip)]
    pub(crate) is_new: bool,
}

/// A version of a definition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DefinitionView {
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) digest: String,
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) created_at: Time,
    pub(crate) actor: Option<String>,
    /// `yaml` or `json`
    pub(crate) source_format: String,
    /// JSON Schema of the input of a start. Absent in lists, and if the definition has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Json>)]
    pub(crate) input: Option<Json>,
    /// The applied text. Absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
}

/// The newest version of each definition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DefinitionList {
    pub(crate) definitions: Vec<DefinitionView>,
}

/// The versions of a definition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VersionList {
    pub(crate) versions: Vec<DefinitionView>,
}

impl Api {
    /// Checks that the definitions of children exist, and can be undone where the parent may have to undo them. A
    /// definition may start itself.
    async fn check_children(
        &self,
        context: &CallContext,
        parent: &Definition,
        children: &[ChildReference],
    ) -> ApiResult<()> {
        let mut problems = Vec::new();
        for child in children {
            let found = if child.workflow == parent.name && child.version.is_none() {
                Some(has_pivot(parent))
            } else {
                let namespace = context.namespace.as_str();
                let record = self.store().definition(namespace, &child.workflow, child.version).await?;
                record.map(|record| has_pivot(&record.definition))
            };
            let version = child.version.map(|version| format!("version {version} of ")).unwrap_or_default();
            let name = format!("{version}definition {}", child.workflow);
            match found {
                None => {
                    let detail = format!("{name} does not exist in this namespace");
                    problems.push(child.problem(detail, "apply it first"));
                }
                Some(true) if child.is_undone => {
                    let detail = format!("{name} has a pivot, so a rollback could not undo the child");
                    let hint =
                        "set `on_parent_close: abandon`, or make the step `kind: pivot` or `kind: retriable`";
                    problems.push(child.problem(detail, hint));
                }
                Some(_) => {}
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(invalid_definition(&problems)) }
    }

    /// Applies a definition. Equal content changes nothing, changed content becomes the next version.
    pub(crate) async fn apply_definition(
        &self,
        context: &CallContext,
        apply: ApplyDefinition,
    ) -> ApiResult<AppliedDefinition> {
        let ApplyDefinition { name, format, source, dry_run } = apply;
        audit_notes::target("definition", &name);
        let text = source.clone();
        let parse = move || goconductor_definition::parse(&text, format, &Limits::default());
        let Checked { definition, digest, schedule, warnings, children } =
            self.schemas.run(parse).await?.map_err(|problems| invalid_definition(&problems))?;
        if definition.name != name {
            let detail = format!(
                "the definition's name is {}, but the request is for {name}: use the same name",
                definition.name
            );
            return Err(Problem::new(DEFINITION, detail.clone()).at("/workflow", detail));
        }
        if calls_of(&definition).any(Call::has_secrets) {
            self.check_use_of_secrets(context, "calls in definitions")?;
        }
        self.check_schedule_of_definition(context, &name, schedule.is_some()).await?;
        self.check_children(context, &definition, &children).await?;
        let warnings = warnings.iter().map(location).collect();
        if dry_run {
            let newest = self.store().definition(context.namespace.as_str(), &name, None).await?;
            let version = match newest {
                Some(newest) if newest.digest == digest => newest.version,
                newest => newest.map_or(0, |newest| newest.version).saturating_add(1),
            };
            audit_notes::after(&serde_json::json!({"dry_run": true, "version": version, "digest": digest}));
            return Ok(AppliedDefinition { name, version, digest, warnings, is_new: false });
        }
        let new = NewDefinition {
            namespace: context.namespace.to_string(),
            definition,
            digest,
            // Invariant: a text that was parsed is UTF-8.
            source: decode_text(&source).unwrap_or_default().to_owned(),
            source_format: match format {
                Format::Yaml => "yaml".to_owned(),
                Format::Json => "json".to_owned(),
            },
            actor: context.actor.clone(),
        };
        if calls_of(&new.definition).next().is_some() {
            self.serve_calls(&context.namespace).await?;
        }
        let put = self.store().put_definition(new).await?;
        // A failure in between is repaired by applying the definition again.
        self.apply_schedule(context, &name, schedule).await?;
        let DefinitionRecord { name, version, digest, .. } = (*put.record).clone();
        audit_notes::after(
            &serde_json::json!({"version": version, "digest": digest, "created": put.created}),
        );
        Ok(AppliedDefinition { name, version, digest, warnings, is_new: put.created })
    }

    /// Archives a definition and returns the number of its workflows that have not ended. They continue.
    pub(crate) async fn delete_definition(&self, context: &CallContext, name: &str) -> ApiResult<u64> {
        audit_notes::target("definition", name);
        let key = DefinitionName { namespace: context.namespace.to_string(), name: name.to_owned() };
        if !self.store().archive_definition(&key).await? {
            return Err(not_found(name, None));
        }
        self.pause_archived_schedule(context, name).await?;
        self.open_workflows(context, name).await
    }

    /// Counts the workflows of a definition that have not ended.
    async fn open_workflows(&self, context: &CallContext, name: &str) -> ApiResult<u64> {
        let of_definition =
            Filter::Compare(Field::Definition, Comparison::Equal, FilterValue::Text(name.to_owned()));
        let counts =
            self.store().counts(context.namespace.as_str(), Field::Status, Some(&of_definition)).await?;
        let final_names: Vec<_> =
            Status::ALL.iter().filter(|status| status.is_final()).map(|status| status.as_str()).collect();
        Ok(counts
            .iter()
            .filter(|count| !final_names.contains(&count.value.as_str()))
            .map(|count| count.count)
            .sum())
    }

    /// Lists the newest version of each definition.
    pub(crate) async fn list_definitions(&self, context: &CallContext) -> ApiResult<DefinitionList> {
        let records = self.store().definitions(context.namespace.as_str(), None).await?;
        let definitions = records.into_iter().map(|record| view(record, false)).collect();
        Ok(DefinitionList { definitions })
    }

    /// Returns a version of a definition, or the newest one.
    pub(crate) async fn definition(
        &self,
        context: &CallContext,
        name: &str,
        version: Option<u32>,
    ) -> ApiResult<DefinitionView> {
        Ok(view(self.definition_record(context, name, version).await?, true))
    }

    /// Lists the versions of a definition, newest first.
    pub(crate) async fn list_versions(&self, context: &CallContext, name: &str) -> ApiResult<VersionList> {
        let records = self.store().definitions(context.namespace.as_str(), Some(name)).await?;
        if records.is_empty() {
            return Err(not_found(name, None));
        }
        Ok(VersionList { versions: records.into_iter().map(|record| view(record, false)).collect() })
    }

    /// Returns the graph of a version of a definition, or of the newest one.
    pub(crate) async fn definition_graph(
        &self,
        context: &CallContext,
        name: &str,
        version: Option<u32>,
    ) -> ApiResult<Graph> {
        let record = self.definition_record(context, name, version).await?;
        Ok(graph(&record.definition, record.version))
    }

    pub(super) async fn definition_record(
        &self,
        context: &CallContext,
        name: &str,
        version: Option<u32>,
    ) -> ApiResult<DefinitionRecord> {
        let found = self.store().definition(context.namespace.as_str(), name, version).await?;
        found.ok_or_else(|| not_found(name, version.map(|version| version.to_string()).as_deref()))
    }
}

/// Returns all calls of a definition: of both sides of its steps and of their elements, and of their probes.
fn calls_of(definition: &Definition) -> impl Iterator<Item = &Call> {
    let sides = [Side::Execute, Side::Compensate];
    let actions = definition.steps.iter().flat_map(move |step| {
        let of_element = step.for_each.as_ref().and_then(|each| each.failure.probe.as_ref());
        let probes = step.failure.probe.iter().chain(of_element);
        let own = sides.into_iter().filter_map(|side| step.action(side));
        let performed = sides.into_iter().filter_map(|side| step.performed_action(side));
        own.chain(performed).chain(probes)
    });
    actions.filter_map(Action::call)
}

/// Parses the number of a version. Any other text is the number of no version.
pub(crate) fn parse_version(name: &str, version: &str) -> ApiResult<u32> {
    version.parse().map_err(|_| not_found(name, Some(version)))
}

fn not_found(name: &str, version: Option<&str>) -> Problem {
    let subject = match version {
        Some(version) => format!("version {version} of definition {name}"),
        None => format!("definition {name}"),
    };
    Problem::new(NO_DEFINITION, format!("{subject} not found in this namespace"))
}

pub(super) fn invalid_definition(problems: &[goconductor_definition::Problem]) -> Problem {
    let detail = match problems {
        [only] => format!("line {}: {}", only.line, location(only).detail),
        several => format!("{} problems", several.len()),
    };
    Problem::new(DEFINITION, detail).with_errors(problems.iter().map(location).collect())
}

fn location(problem: &goconductor_definition::Problem) -> Location {
    Location {
        pointer: problem.pointer.clone(),
        line: Some(problem.line),
        column: Some(problem.column),
        code: problem.code,
        detail: match &problem.hint {
            Some(hint) => format!("{}; {hint}", problem.detail),
            None => problem.detail.clone(),
        },
    }
}

fn view(record: DefinitionRecord, with_source: bool) -> DefinitionView {
    DefinitionView {
        name: record.name,
        version: record.version,
        digest: record.digest,
        title: record.definition.title,
        description: record.definition.description,
        created_at: record.created_at.into(),
        actor: record.actor,
        source_format: record.source_format,
        input: record.definition.input.filter(|_| with_source),
        source: with_source.then_some(record.source),
    }
}

fn has_pivot(definition: &Definition) -> bool {
    definition.steps.iter().any(|step| step.kind == Kind::Pivot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_saga::HttpCall;

    #[test]
    fn calls_of_elements_and_probes_are_found() {
        let text = "
workflow: order
steps:
  - { name: pay, run: payments/charge, compensate: payments/refund }
  - name: ship
    for_each: { in: '${ input.items }', as: line, max_parallel: 2 }
    run: parcels/send
    compensate: parcels/recall
";
        let checked = goconductor_definition::parse(text.as_bytes(), Format::Yaml, &Limits::default());
        let definition = checked.expect("the definition is valid").definition;
        assert_eq!(calls_of(&definition).count(), 0);
        let secret_headers = [("authorization".to_owned(), "secret://broker".to_owned())].into();
        let call =
            HttpCall { method: "POST".to_owned(), url: "https://a.example/".to_owned(), secret_headers };
        let call = Action::Call(Box::new(Call::Http(call)));
        let has_secrets = |change: fn(&mut goconductor_saga::Step, Action)| {
            let mut changed = definition.clone();
            let step = changed.steps.last_mut().expect("the definition has steps");
            change(step, call.clone());
            calls_of(&changed).any(Call::has_secrets)
        };
        assert!(has_secrets(|step, call| step.action = call));
        assert!(has_secrets(|step, call| step.failure.probe = Some(call)));
        assert!(has_secrets(|step, call| {
            if let Some(each) = &mut step.for_each {
                each.action = call;
            }
        }));
        assert!(has_secrets(|step, call| {
            if let Some(undo) = step.for_each.as_mut().and_then(|each| each.compensate.as_mut()) {
                undo.action = call;
            }
        }));
        assert!(has_secrets(|step, call| {
            if let Some(each) = &mut step.for_each {
                each.failure.probe = Some(call);
            }
        }));
    }
}
