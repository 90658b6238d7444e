//! Work on definitions and inputs that can take long: parsing a definition, compiling its input schema, and validating
//! an input.
//!
//! The work of each is bounded, but it can take a second. It therefore runs on threads that serve no requests. A request that waits too long for a thread is refused. A short validation runs at once.

use crate::error::{ApiResult, INTERNAL, Problem, VALIDATION_BUSY};
use goconductor_definition::{InputProblem, InputSchema};
use goconductor_saga::{Json, Plan};
use goconductor_transition::LongWork;
use lru::LruCache;
use parking_lot::Mutex;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

const CAPACITY: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// The longest wait for a thread.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// The delay after which a refused request is worth a retry.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Namespace, definition and version. A version never changes.
type SchemaKey = (String, String, u32);
/// A compiled schema, or the reason why it does not compile.
type CompiledSchema = Result<InputSchema, String>;

/// A cache of compiled input schemas, and the threads for long work. Compiling a schema takes longer than the
/// validation of an input.
#[derive(Debug)]
pub(crate) struct Schemas {
    compiled: Mutex<LruCache<SchemaKey, Arc<CompiledSchema>>>,
    threads: LongWork,
    /// The simulation that runs or waits for a thread. Every reader may request simulations, so they must not keep the
    /// threads from checking definitions and inputs.
    simulation: Arc<Semaphore>,
}

/// The result of a validation.
#[derive(Debug)]
pub(crate) enum Validation {
    Valid,
    /// Values of the input violate the schema.
    Violations(Vec<InputProblem>),
    /// The schema does not compile. An earlier release accepted it.
    Unusable(String),
}

impl Default for Schemas {
    fn default() -> Self {
        let compiled = Mutex::new(LruCache::new(CAPACITY));
        Self { compiled, threads: LongWork::default(), simulation: Arc::new(Semaphore::new(1)) }
    }
}

impl Schemas {
    /// Validates the input of a workflow against the schema of its definition, if it has one.
    pub(crate) async fn validate(
        &self,
        namespace: &str,
        plan: &Arc<Plan>,
        input: Json,
    ) -> ApiResult<(Json, Validation)> {
        if plan.definition().input.is_none() {
            return Ok((input, Validation::Valid));
        }
        let key = (namespace.to_owned(), plan.definition().name.clone(), plan.version());
        let known = self.compiled.lock().get(&key).map(Arc::clone);
        match known {
            Some(compiled) if is_quick(&compiled, &input) => {
                let validation = check(&compiled, &input);
                Ok((input, validation))
            }
            Some(compiled) => {
                self.run(move || {
                    let validation = check(&compiled, &input);
                    (input, validation)
                })
                .await
            }
            None => {
                let plan = Arc::clone(plan);
                let (compiled, input, validation) = self
                    .run(move || {
                        let schema = plan.definition().input.as_ref().unwrap_or(&Json::Bool(true));
                        let compiled = InputSchema::new(schema);
                        let validation = check(&compiled, &input);
                        (compiled, input, validation)
                    })
                    .await?;
                self.compiled.lock().put(key, Arc::new(compiled));
                Ok((input, validation))
            }
        }
    }

    /// Like [`run`](Self::run), for a simulation. One at a time runs or waits for a thread.
    pub(crate) async fn simulate<T: Send + 'static>(
        &self,
        function: impl FnOnce() -> T + Send + 'static,
    ) -> ApiResult<T> {
        let turn = tokio::time::timeout(MAX_WAIT, Arc::clone(&self.simulation).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(busy()) };
        self.run(move || {
            let result = function();
            // Here, because a caller that disconnects does not end the work.
            drop(turn);
            result
        })
        .await
    }

    /// Runs a function that can take long. Returns [`VALIDATION_BUSY`] if no thread becomes free in time.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        function: impl FnOnce() -> T + Send + 'static,
    ) -> ApiResult<T> {
        let Ok(thread) = tokio::time::timeout(MAX_WAIT, self.threads.thread()).await else {
            return Err(busy());
        };
        thread.run(function).await.map_err(|error| match error.try_into_panic() {
            Ok(panic) => Problem::from_panic(&*panic),
            Err(_) => Problem::new(INTERNAL, "the server shut down while it checked the request"),
        })
    }
}

fn busy() -> Problem {
    let detail = "the threads that check definitions and inputs are busy: retry later";
    Problem::new(VALIDATION_BUSY, detail).retry_after(RETRY_AFTER)
}

fn is_quick(compiled: &CompiledSchema, input: &Json) -> bool {
    compiled.as_ref().map_or(true, |schema| schema.is_quick(input))
}

fn check(compiled: &CompiledSchema, input: &Json) -> Validation {
    match compiled {
        Ok(schema) => match schema.check(input) {
            Ok(()) => Validation::Valid,
            Err(problems) => Validation::Violations(problems),
        },
        Err(reason) => Validation::Unusable(reason.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_definition::{Format, Limits};
    use serde_json::json;

    const ORDER: &str = "workflow: a\nsteps: [{name: s, run: a/b, compensate: none}]";

    fn plan(schema: Json) -> Arc<Plan> {
        let checked = goconductor_definition::parse(ORDER.as_bytes(), Format::Yaml, &Limits::default());
        let mut definition = checked.unwrap().definition;
        definition.input = Some(schema);
        Arc::new(Plan::new(definition, 1).unwrap())
    }

    #[tokio::test]
    async fn stored_schema_that_multiplies_checks_refuses_every_input() {
        let mut defs = serde_json::Map::new();
        for level in 0..22 {
            let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
            defs.insert(format!("d{level}"), json!({"anyOf": [next, next]}));
        }
        defs.insert("d22".to_owned(), json!({"required": ["b"]}));
        let plan = plan(json!({"$ref": "#/$defs/d0", "$defs": defs}));
        let schemas = Schemas::default();
        for _ in 0..3 {
            let (_, validation) = schemas.validate("default", &plan, json!({"a": 1})).await.unwrap();
            assert!(matches!(validation, Validation::Unusable(reason) if reason.contains("times")));
        }
    }

    #[tokio::test]
    async fn input_is_validated_at_once_and_on_a_thread() {
        let plan = plan(json!({"items": {"maximum": 5}}));
        let schemas = Schemas::default();
        for input in [json!([1]), json!(vec![1; 50_000])] {
            let (_, validation) = schemas.validate("default", &plan, input).await.unwrap();
            assert!(matches!(validation, Validation::Valid), "{validation:?}");
        }
        let mut large = vec![1; 50_000];
        large.push(6);
        for input in [json!([6]), json!(large)] {
            let (_, validation) = schemas.validate("default", &plan, input).await.unwrap();
            assert!(matches!(validation, Validation::Violations(problems) if problems.len() == 1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn request_is_refused_if_no_thread_becomes_free() {
        let schemas = Schemas::default();
        let mut held = Vec::new();
        for _ in 0..LongWork::threads() {
            held.push(schemas.threads.thread().await);
        }
        assert!(schemas.run(|| ()).await.unwrap_err().is(VALIDATION_BUSY));
        drop(held);
        schemas.run(|| ()).await.unwrap();
    }

    #[tokio::test]
    async fn one_simulation_runs_at_a_time() {
        let schemas = Arc::new(Schemas::default());
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        let first = {
            let schemas = Arc::clone(&schemas);
            tokio::spawn(async move { schemas.simulate(move || blocked.recv().is_ok()).await.unwrap() })
        };
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(schemas.simulation.available_permits(), 0);
        let waits = tokio::time::timeout(Duration::from_millis(50), schemas.simulate(|| ())).await;
        assert!(waits.is_err(), "the first one has not ended");
        release.send(()).unwrap();
        assert!(first.await.unwrap());
        schemas.simulate(|| ()).await.unwrap();
    }
}
