//! Descriptions and examples of the keys, which editors show.

use goconductor_saga::Json;
use serde_json::json;

/// The objects of the schema by their JSON pointers, each with the descriptions of its keys.
const DESCRIPTIONS: &[(&str, &[(&str, &str)])] = &[
    (
        "",
        &[
            ("$schema", "URL of this schema, for editors. It has no effect."),
            ("namespace", "Namespace that the definition is meant for. Apply decides the namespace."),
            ("title", "Title, for people."),
            ("description", "Description, for people."),
            ("labels", "Labels of every workflow of the definition. Labels of a start override them."),
            ("schedule", "Starts workflows by the clock."),
            ("defaults", "Settings of every step that has none of its own."),
            ("compensation", "Settings of every compensation, or `required` to refuse `compensate: none`."),
            ("steps", "Steps in order. A step without `depends_on` waits for the step above it."),
            ("lock", "Locks that the workflow holds from its first step to its end."),
        ],
    ),
    (
        "/properties/schedule",
        &[
            ("cron", "Times in cron syntax: minute, hour, day of the month, month, day of the week."),
            ("timezone", "Time zone of the times, such as Europe/Berlin (default: UTC)."),
            ("overlap", "The behaviour at a due time at which the previous workflow has not ended."),
            ("input", "Input of each workflow that the schedule starts."),
        ],
    ),
    (
        "/properties/defaults",
        &[
            ("retry", "Retry policy of every step that has none."),
            ("timeout", "Time limits of every step that has none."),
            ("service", "Service of every action that names none, so that `run: charge` is enough."),
        ],
    ),
    (
        "/properties/compensation",
        &[
            ("order", "`reverse` compensates a step after the steps that depend on it."),
            ("on_error", "Behaviour if a compensation fails. `pause` waits for an operator."),
            ("retry", "Retry policy of every compensation that has none (default: without a limit)."),
            ("timeout", "Time limit of one attempt to compensate (default: 30s)."),
            ("required", "Whether `compensate: none` is refused."),
        ],
    ),
    (
        "/definitions/timeout/oneOf/1",
        &[
            ("attempt", "Time limit of one attempt (default: 30s)."),
            (
                "queue",
                "Time limit until the first attempt starts; of a compensation, until each attempt starts.",
            ),
            ("total", "Time limit of all attempts together."),
            ("heartbeat", "Maximum time between two heartbeats of an attempt."),
        ],
    ),
    (
        "/definitions/retry/oneOf/3",
        &[
            ("max_attempts", "Maximum number of attempts, the first included, or `unlimited` (default: 10)."),
            ("backoff", "Growth of the delay from one attempt to the next."),
            ("initial", "Delay before the second attempt (default: 200ms)."),
            ("max", "Maximum delay (default: 30s; of a compensation: 1m)."),
            ("factor", "Growth factor of `backoff: exponential` (default: 2)."),
            ("jitter", "Fraction by which a delay may be longer or shorter (default: 0.2)."),
            ("on", "Failure codes that are retried (default: all)."),
            ("not_on", "Failure codes that are not retried."),
        ],
    ),
    (
        "/definitions/compensate/anyOf/2",
        &[
            ("run", "Action that undoes the step, as service/action."),
            ("input", "Input of the action (default: the step's input and output)."),
            ("retry", "Retry policy (default: without a limit, because a compensation must succeed)."),
            (
                "timeout",
                "Time limit of one attempt to compensate (default: 30s), or an object with several limits.",
            ),
            ("when", "Condition of the compensation, in CEL."),
            ("call", "HTTP or gRPC call that undoes the step, without a worker."),
        ],
    ),
    (
        "/definitions/lock/oneOf/1",
        &[
            ("key", "Key of the lock, such as account/${ input.account }."),
            ("mode", "Whether others can hold the lock at the same time."),
            ("wait", "Time limit of the wait for the lock."),
            ("hold", "Whether the lock is held until the end of the step or of the workflow."),
        ],
    ),
    (
        "/definitions/step",
        &[
            ("name", "Name of the step, unique in the definition. Expressions use it as steps.NAME.output."),
            ("title", "Title, for people."),
            ("description", "Description, for people."),
            ("when", "Condition in CEL. If it is false, the step is skipped."),
            ("run", "Action that a service performs, as service/action."),
            ("parallel", "Branches that run at the same time: lists of steps by the name of the branch."),
            ("switch", "Branches of which the first whose `when` is true is taken."),
            ("child", "Definition that runs as a workflow of its own and is rolled back with this one."),
            ("wait_for_signal", "Name of the signal that the step waits for."),
            ("sleep", "Duration to wait, or an expression with a time."),
            ("for_each", "List over which the step runs once for each element."),
            ("kind", "`pivot` is the point of no return. A `retriable` step follows it and must succeed."),
            (
                "input",
                "Input of the action. Strings may contain ${ } expressions (default: the workflow's input).",
            ),
            ("compensate", "Action that undoes the step, or `none` if there is nothing to undo."),
            ("retry", "Retry policy: a number of attempts, `none`, `forever`, or an object."),
            ("timeout", "Time limit of one attempt, or an object with several limits."),
            ("lock", "Lock that the step acquires before it starts."),
            ("on_error", "The reaction to a failure of the step (default: `compensate`)."),
            ("labels", "Labels of the step, for people."),
            ("join", "Which of several dependencies the step waits for (default: `all`)."),
            ("call", "HTTP or gRPC call that the step makes, without a worker."),
            (
                "probe",
                "Action that says whether an execution of unknown outcome happened, as service/action.",
            ),
            ("on_unknown", "The reaction to an outcome that stays unknown (default: `compensate`)."),
        ],
    ),
    (
        "/definitions/step/properties/switch/items",
        &[
            ("when", "Condition in CEL. The last branch may have none and is then the default."),
            ("steps", "Steps of the branch."),
        ],
    ),
    (
        "/definitions/step/properties/child/oneOf/1",
        &[
            ("workflow", "Name of the definition of the child."),
            ("version", "Version of the definition of the child (default: the newest)."),
            ("id", "Key by which the child is recognised."),
            ("on_parent_close", "The end of the child if the parent ends first."),
        ],
    ),
    (
        "/definitions/step/properties/wait_for_signal/oneOf/1",
        &[
            ("signal", "Name of the signal that the step waits for."),
            ("until", "Time at which the wait ends, as a CEL expression."),
            ("on_timeout", "Whether the step fails or the workflow continues at the time limit."),
        ],
    ),
    (
        "/definitions/step/properties/for_each/oneOf/1",
        &[
            ("in", "List, as a CEL expression."),
            ("as", "Name of the element in expressions."),
            ("max_parallel", "Maximum number of elements at the same time."),
        ],
    ),
    (
        "/definitions/call",
        &[("http", "HTTP request of the step."), ("grpc", "Unary gRPC request of the step.")],
    ),
    (
        "/definitions/call/properties/http",
        &[
            ("url", "URL of the request. It may contain ${ } expressions."),
            ("method", "Method of the request (default: POST)."),
            ("headers", "Headers of the request, by name."),
            ("body", "Body of the request, sent as JSON."),
        ],
    ),
    (
        "/definitions/call/properties/grpc",
        &[
            ("target", "Address of the server."),
            ("method", "Full name of the method, as package.Service/Method."),
            ("metadata", "Metadata of the request, by name."),
            ("message", "Message of the request, in the JSON form of Protobuf."),
            (
                "descriptor_set",
                "Types of the messages: a FileDescriptorSet in Base64. Without it, the server is asked by reflection.",
            ),
        ],
    ),
];

/// Adds the descriptions to the keys that have none, and examples to some.
pub(super) fn describe(schema: &mut Json) {
    for (pointer, keys) in DESCRIPTIONS {
        let Some(properties) = schema.pointer_mut(pointer).and_then(|object| object.get_mut("properties"))
        else {
            continue;
        };
        for (key, description) in *keys {
            if let Some(property) = properties.get_mut(key).and_then(Json::as_object_mut) {
                property.entry("description").or_insert_with(|| (*description).into());
            }
        }
    }
    for (pointer, examples) in examples() {
        if let Some(part) = schema.pointer_mut(pointer).and_then(Json::as_object_mut) {
            part.entry("examples").or_insert(examples);
        }
    }
}

/// Returns examples of values, by the JSON pointers of their schemas.
fn examples() -> [(&'static str, Json); 8] {
    [
        ("/definitions/action", json!(["payments/charge"])),
        ("/definitions/duration", json!(["200ms", "30s", "5m", "1h30m", "7d"])),
        ("/definitions/cel", json!(["input.amount > 100", "steps.check.output.approved"])),
        (
            "/definitions/retry",
            json!([3, "none", "forever", {"max_attempts": 5, "initial": "1s", "max": "1m"}]),
        ),
        ("/definitions/timeout", json!(["30s", {"attempt": "30s", "total": "10m"}])),
        (
            "/definitions/compensate",
            json!(["payments/refund", "none", {"run": "payments/refund", "timeout": "1m"}]),
        ),
        ("/definitions/step/properties/depends_on", json!([["reserve", "charge"], []])),
        (
            "/definitions/step/properties/parallel",
            json!([{
                "flight": [{"name": "flight", "run": "flights/book", "compensate": "flights/cancel"}],
                "hotel": [{"name": "hotel", "run": "hotels/book", "compensate": "hotels/cancel"}],
            }]),
        ),
    ]
}
