//! Twenty definitions in the style of the three engines: the graph that each one becomes, and the course of a workflow.

use goconductor_definition::{Cel, Format, Limits, parse};
use goconductor_importers::{Imported, Level, Source, import};
use goconductor_saga::{Action, Call, Definition, Input, Json, Outcome, Plan, Side, Step, WaitTime};
use goconductor_simulator::{
    Limits as SimulationLimits, NextActivity, SimulatedResponse, SimulatedStart, Simulation,
    SimulationRequest, StepFault, simulate,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Imports a sample, whose engine is recognised.
fn sample(name: &str) -> (Imported, Definition) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let imported = import(&text, None).unwrap_or_else(|problems| panic!("{name}: {problems}"));
    let limits = Limits::default();
    assert_eq!(goconductor_definition::format(&imported.definition, &limits).unwrap(), imported.definition);
    let checked = parse(imported.definition.as_bytes(), Format::Yaml, &limits).unwrap();
    (imported, checked.definition)
}

/// A step as text: its action, the steps that it waits for, its conditions and its compensation.
fn line(definition: &Definition, step: &Step) -> String {
    let performed = |side| step.performed_action(side).map(action);
    let mut text = format!("{}: {}", step.name, performed(Side::Execute).unwrap());
    if let Some(each) = &step.for_each {
        text.push_str(&format!(" each {} by {}", each.list, each.max_parallel));
    }
    let after = step.depends_on.iter().map(|index| definition.steps[index.0 as usize].name.as_str());
    let after: Vec<&str> = after.collect();
    if !after.is_empty() {
        text.push_str(&format!(" after {}", after.join(", ")));
    }
    for condition in &step.when {
        let word = if condition.holds { "if" } else { "unless" };
        text.push_str(&format!(" {word} {}", condition.expression));
    }
    if let Some(undo) = performed(Side::Compensate) {
        text.push_str(&format!(" undo {undo}"));
    }
    text
}

fn action(action: &Action) -> String {
    match action {
        Action::Run { service, action } => format!("{service}/{action}"),
        Action::Call(call) => match call.as_ref() {
            Call::Http(http) => format!("{} {}", http.method, http.url),
            Call::Grpc(grpc) => format!("gRPC {} at {}", grpc.method, grpc.target),
        },
        Action::Sleep { time } => match time {
            WaitTime::Duration(duration) => format!("sleep {duration:?}"),
            WaitTime::Time(time) => format!("sleep until {}", time.0),
            WaitTime::Expression(expression) => format!("sleep {expression}"),
        },
        Action::Signal { name, .. } => format!("signal {name}"),
        Action::Child(child) => format!("child {}", child.workflow),
    }
}

/// The losses of an import, as `level path`.
fn losses(imported: &Imported) -> Vec<String> {
    let losses = imported.notes.iter().filter(|note| note.level != Level::Info);
    losses.map(|note| format!("{} {}", note.level.as_str(), note.path)).collect()
}

fn check(name: &str, graph: &[&str], expected_losses: &[&str]) {
    let (imported, definition) = sample(name);
    let lines: Vec<String> = definition.steps.iter().map(|step| line(&definition, step)).collect();
    assert_eq!(lines, graph, "{}\n{:#?}", imported.definition, imported.notes);
    assert_eq!(losses(&imported), expected_losses, "{:#?}", imported.notes);
    assert_eq!(imported.has_losses(), !expected_losses.is_empty());
}

/// Checks the order in which a workflow calls its participants. Steps that wait for signals get their outputs as payloads.
fn runs(name: &str, input: Json, outputs: &[(&str, Json)], end: &str, order: &[&str]) {
    let (imported, definition) = sample(name);
    let outputs: BTreeMap<&str, Json> = outputs.iter().cloned().collect();
    let plan = Arc::new(Plan::new(definition, 1).unwrap());
    let start = SimulatedStart { input, ..SimulatedStart::default() };
    let cel = Arc::new(Cel::new());
    let mut simulation = Simulation::start(Arc::clone(&plan), cel, start, SimulationLimits::default());
    for step in &plan.definition().steps {
        if let (Action::Signal { name, .. }, Some(payload)) = (&step.action, outputs.get(step.name.as_str()))
        {
            let payload = Arc::new(payload.clone());
            let signal = Input::Signal { name: name.clone(), payload, key: None, actor: None };
            assert!(simulation.submit(&signal).unwrap());
        }
    }
    let mut called = Vec::new();
    while let NextActivity::Call(call) = simulation.advance().unwrap() {
        let step = call.name.split('[').next().unwrap();
        let output = outputs.get(step).cloned().unwrap_or_default();
        let response = SimulatedResponse::Outcome(Outcome::Done { output });
        simulation.respond(&call, response, Duration::from_millis(10));
        called.push(call.name);
    }
    let reached = simulation.state().status().as_str();
    assert_eq!(
        (called.as_slice(), reached),
        (&order.iter().map(|step| (*step).to_owned()).collect::<Vec<_>>()[..], end),
        "{}\n{:?}",
        imported.definition,
        simulation.state().error
    );
}

#[test]
fn sequence_with_retries_and_an_optional_task() {
    let graph = [
        "charge_ref: payments/charge",
        "reserve_ref: inventory/reserve after charge_ref",
        "notify_ref: order-fulfilment/notify after reserve_ref",
    ];
    let losses: [&str; 1] = ["lost workflow/failureWorkflow"];
    check("conductor/order.json", &graph, &losses);
    let outputs = [("charge_ref", json!({"paymentId": "p1"}))];
    let order = ["charge_ref", "reserve_ref", "notify_ref"];
    runs("conductor/order.json", json!({"orderId": "o1", "amount": 5}), &outputs, "COMPLETED", &order);
}

#[test]
fn fork_and_join() {
    let graph = [
        "flight: flights/book",
        "hotel: hotels/book",
        "upgrade: hotels/upgrade after hotel",
        "mail: mail/send after flight, upgrade",
    ];
    let losses: [&str; 0] = [];
    check("conductor/trip.json", &graph, &losses);
    let outputs = [("flight", json!({"id": 1})), ("hotel", json!({"id": 2}))];
    let order = ["flight", "hotel", "upgrade", "mail"];
    runs("conductor/trip.json", json!({"city": "Rome"}), &outputs, "COMPLETED", &order);
}

#[test]
fn switch_by_value_with_an_empty_case() {
    let graph = [
        "ship_fedex: fedex/ship if input.carrier == 'fedex'",
        "ship_post: post/ship unless input.carrier == 'fedex' if !(input.carrier == 'pickup')",
        "record: shipping/record after ship_fedex, ship_post",
    ];
    let losses: [&str; 0] = [];
    check("conductor/shipping.json", &graph, &losses);
    for (carrier, order) in
        [("fedex", &["ship_fedex", "record"][..]), ("pickup", &["record"]), ("dhl", &["ship_post", "record"])]
    {
        runs("conductor/shipping.json", json!({"carrier": carrier}), &[], "COMPLETED", order);
    }
}

#[test]
fn switch_by_javascript_with_a_wait() {
    let graph = [
        "grant: loans/grant if double(input.score) >= 700.0 && input.customer != null",
        "manual_review: signal manual_review unless double(input.score) >= 700.0 && input.customer != null if !(double(input.score) >= 700.0 && input.customer != null)",
        "grant_reviewed: loans/grant after manual_review unless double(input.score) >= 700.0 && input.customer != null if !(double(input.score) >= 700.0 && input.customer != null)",
    ];
    let losses: [&str; 0] = [];
    check("conductor/loan.json", &graph, &losses);
    let outputs = [("manual_review", json!({"reviewer": "ada"}))];
    for (score, order) in [(700, ["grant"]), (699, ["grant_reviewed"])] {
        runs("conductor/loan.json", json!({"score": score, "customer": "c"}), &outputs, "COMPLETED", &order);
    }
}

#[test]
fn http_tasks_and_a_pause() {
    let graph = [
        "get_price: GET https://prices.example/v1/items/${ input.item }",
        "cool_down: sleep 150s after get_price",
        "put_price: PUT https://shop.example/prices after cool_down",
    ];
    let losses: [&str; 0] = [];
    check("conductor/webhook.json", &graph, &losses);
    let outputs = [("get_price", json!({"price": 3}))];
    let order = ["get_price", "put_price"];
    runs("conductor/webhook.json", json!({"item": "i1"}), &outputs, "COMPLETED", &order);
}

#[test]
fn sub_workflow_and_a_wait_until_a_time() {
    let graph = [
        "bill: child bill-customer undo child bill-customer",
        "until_end: sleep input.endsAt after bill",
        "close: accounts/close after until_end",
    ];
    let losses: [&str; 1] = ["lost tasks/bill"];
    check("conductor/subscription.json", &graph, &losses);
}

#[test]
fn loops_dynamic_tasks_and_terminations_are_refused() {
    let graph = ["probe: media/probe", "publish: media/publish after probe"];
    let losses: [&str; 4] =
        ["refused tasks/encode_loop", "refused tasks/by_type", "lost tasks/publish", "refused tasks/stop"];
    check("conductor/loops.json", &graph, &losses);
}

#[test]
fn tasks_with_results_and_retries() {
    let graph = [
        "reserve_stock: state-machine/stock-reserve",
        "charge: state-machine/charge-card after reserve_stock",
        "ship: state-machine/ship after charge",
    ];
    let losses: [&str; 1] = ["lost ReserveStock/Catch"];
    check("asl/order.json", &graph, &losses);
    let outputs = [("reserve_stock", json!({"id": 1})), ("charge", json!({"paymentId": 2}))];
    let input = json!({"id": "o1", "customer": "c", "amount": 5});
    runs("asl/order.json", input, &outputs, "COMPLETED", &["reserve_stock", "charge", "ship"]);
}

#[test]
fn choice_with_a_failure_and_a_callback() {
    let graph = [
        "assess: state-machine/assess",
        "ask_manager: sqs/sendMessage after assess if !((double(steps.assess.output.score) >= 80.0 && !(input.blocked == true))) && (steps.assess.output.grade.startsWith('B'))",
        "ask_manager_callback: signal ask_manager_callback after ask_manager if !((double(steps.assess.output.score) >= 80.0 && !(input.blocked == true))) && (steps.assess.output.grade.startsWith('B'))",
        "reject: sleep 'failed: Rejected: the score is too low' after assess unless !((double(steps.assess.output.score) >= 80.0 && !(input.blocked == true))) && (steps.assess.output.grade.startsWith('B')) if !((double(steps.assess.output.score) >= 80.0 && !(input.blocked == true)))",
        "grant: state-machine/grant after ask_manager_callback, reject",
    ];
    let losses: [&str; 1] = ["lost AskManager"];
    check("asl/approval.json", &graph, &losses);
    let cases = [
        (json!({"score": 80, "grade": "C"}), "COMPLETED", &["assess", "grant"][..]),
        (json!({"score": 10.5, "grade": "B2"}), "COMPLETED", &["assess", "ask_manager", "grant"]),
        (json!({"score": 10, "grade": "C"}), "ROLLED_BACK", &["assess"]),
    ];
    for (assessment, end, order) in cases {
        let outputs = [("assess", assessment), ("ask_manager_callback", json!(true))];
        runs("asl/approval.json", json!({"blocked": false}), &outputs, end, order);
    }
}

#[test]
fn parallel_with_results() {
    let graph = [
        "address: state-machine/address",
        "phone: state-machine/phone",
        "verify: state-machine/verify after phone",
        "store: state-machine/store after address, verify",
    ];
    let losses: [&str; 0] = [];
    check("asl/parallel.json", &graph, &losses);
    let outputs = [("address", json!({"street": "s"})), ("verify", json!({"number": 1}))];
    let order = ["address", "phone", "verify", "store"];
    runs("asl/parallel.json", json!({"id": 1}), &outputs, "COMPLETED", &order);
}

#[test]
fn waits_pass_and_http() {
    let graph = [
        "pause: sleep 90s",
        "until_due: sleep input.due after pause",
        "remind: POST https://reminders.example/send after until_due",
    ];
    let losses: [&str; 1] = ["lost Remind/Parameters/Authentication"];
    check("asl/reminder.json", &graph, &losses);
    let input = json!({"due": "2026-01-02T00:00:00Z", "user": "u"});
    runs("asl/reminder.json", input, &[], "COMPLETED", &["remind"]);
}

#[test]
fn nested_execution_and_presence() {
    let graph = [
        "run_billing: child bill-customer undo child bill-customer",
        "send: ses/sendEmail after run_billing if has(steps.run_billing.output.invoice)",
    ];
    let losses: [&str; 1] = ["lost workflow"];
    check("asl/nested.json", &graph, &losses);
}

#[test]
fn loops_and_maps_are_refused() {
    let graph = [
        "submit: batch/submitJob",
        "poll: state-machine/poll after submit",
        "again: sleep 60s after poll if steps.poll.output == 'RUNNING'",
        "report: state-machine/report after poll unless steps.poll.output == 'RUNNING'",
    ];
    let losses: [&str; 6] = [
        "refused Again",
        "lost Poll",
        "refused Each",
        "lost Report/Parameters/hash",
        "lost IsDone",
        "lost workflow",
    ];
    check("asl/poll.json", &graph, &losses);
}

#[test]
fn operations_with_a_compensation() {
    let graph = ["charge: payments/charge undo payments/refund", "reserve: inventory/reserve after charge"];
    let losses: [&str; 0] = [];
    check("serverless/order.yaml", &graph, &losses);
    let outputs = [("charge", json!({"payment": {"id": 1}}))];
    let input = json!({"orderId": "o1", "amount": 5});
    runs("serverless/order.yaml", input.clone(), &outputs, "COMPLETED", &["charge", "reserve"]);
    let (_, definition) = sample("serverless/order.yaml");
    let outputs = outputs.map(|(step, output)| (step.to_owned(), output)).into();
    let only = Some(("reserve".to_owned(), StepFault::Refused));
    let request = SimulationRequest { input: Some(input), outputs, only, ..SimulationRequest::default() };
    let report = simulate(&definition, &request).unwrap();
    let undone: Vec<&str> = report.courses[0].undo.iter().map(|side| side.step.as_str()).collect();
    assert_eq!((undone.as_slice(), report.courses[0].end), (&["charge"][..], "ROLLED_BACK"));
}

#[test]
fn switch_with_a_shared_state() {
    let graph = [
        "start_application: child start-application if double(input.applicant.age) >= 18.0 && input.applicant.country == 'DE' undo child start-application",
        "reject: mail/reject unless double(input.applicant.age) >= 18.0 && input.applicant.country == 'DE' if double(input.applicant.age) < 18.0",
        "reject_2: mail/reject unless double(input.applicant.age) >= 18.0 && input.applicant.country == 'DE' unless double(input.applicant.age) < 18.0",
    ];
    let losses: [&str; 1] = ["lost StartApplication/action/actionDataFilter"];
    check("serverless/applicant.json", &graph, &losses);
}

#[test]
fn parallel_sleep_and_switch() {
    let graph = [
        "credit: credit/Check",
        "fraud: fraud/check",
        "pause: sleep 900s after credit, fraud",
        "open: accounts/open after pause if !(steps.fraud.output.found == true)",
    ];
    let losses: [&str; 0] = [];
    check("serverless/parallel.yaml", &graph, &losses);
    for (found, order) in [(true, &["credit", "fraud"][..]), (false, &["credit", "fraud", "open"])] {
        let outputs = [("fraud", json!({"found": found})), ("credit", json!({"limit": 10}))];
        runs("serverless/parallel.yaml", json!({}), &outputs, "COMPLETED", order);
    }
}

#[test]
fn callback_and_events() {
    let graph = [
        "ask_bureau: bureau/ask",
        "ask_bureau_credit_reported: signal credit-reported after ask_bureau",
        "deposit: signal deposit-arrived after ask_bureau_credit_reported",
        "open: accounts/open after deposit",
    ];
    let losses: [&str; 1] = ["lost AskBureau/onErrors"];
    check("serverless/callback.yaml", &graph, &losses);
    let outputs = [("ask_bureau_credit_reported", json!({"score": 7})), ("deposit", json!({"amount": 1}))];
    let order = ["ask_bureau", "open"];
    runs("serverless/callback.yaml", json!({"person": "p"}), &outputs, "COMPLETED", &order);
}

#[test]
fn jq_is_refused() {
    let graph = [
        "load: lists/load",
        "send_all: newsletter/send each steps.load.output by 10000 after load",
        "small: stats/small after send_all",
    ];
    let losses: [&str; 1] = ["refused Count/dataConditions/0"];
    check("serverless/each.yaml", &graph, &losses);
}

#[test]
fn dsl_with_a_switch_and_an_error() {
    let graph = [
        "load_item: GET https://items.example/items/${ input.itemId }",
        "deliver: downloads/grant after load_item if steps.load_item.output.kind == 'digital'",
        "ship: shipping/ship after load_item unless steps.load_item.output.kind == 'digital' if steps.load_item.output.kind == 'physical'",
        "unknown_kind: sleep 'failed: unknown kind' after load_item unless steps.load_item.output.kind == 'digital' unless steps.load_item.output.kind == 'physical'",
        "confirm: child confirm-order after deliver, ship, unknown_kind undo child confirm-order",
    ];
    let losses: [&str; 0] = [];
    check("serverless/dsl-order.yaml", &graph, &losses);
}

#[test]
fn dsl_with_a_fork_and_retries() {
    let graph = [
        "create: records/createRecord",
        "blood: lab/blood after create",
        "scan: lab/scan after create",
        "rest: sleep 1800s after blood, scan",
        "result: signal clinic-result-signed after rest",
        "bill: billing/bill after result",
        "give: pharmacy/give each steps.bill.output.pills by 1 after bill",
    ];
    let losses: [&str; 2] = ["lost do/register/catch", "lost do/loop"];
    check("serverless/dsl-care.yaml", &graph, &losses);
    let bill = json!({"pills": ["a", "b"]});
    let outputs = [("create", json!({"id": 1})), ("result", json!({"code": "c"})), ("bill", bill)];
    let order = ["create", "blood", "scan", "bill", "give[0]", "give[1]"];
    runs("serverless/dsl-care.yaml", json!({"name": "n"}), &outputs, "COMPLETED", &order);
}

#[test]
fn map_over_the_lines_of_an_order() {
    let graph = [
        "validate: state-machine/validate",
        "ship_line: state-machine/ship each input.order.lines by 5 after validate",
        "confirm: state-machine/confirm after ship_line",
    ];
    check("asl/map.json", &graph, &[]);
    let input = json!({"order": {"id": 1, "lines": [{"sku": "a"}, {"sku": "b"}]}});
    let outputs = [("validate", json!({"courier": "c"})), ("ship_line", json!({"tracking": 1}))];
    let order = ["validate", "ship_line[0]", "ship_line[1]", "confirm"];
    runs("asl/map.json", input, &outputs, "COMPLETED", &order);
}

#[test]
fn map_of_executions_and_a_distributed_map() {
    let graph = [
        "load: state-machine/load",
        "bill: child bill-customer each steps.load.output by 10000 after load undo child bill-customer",
    ];
    let (imported, definition) = sample("asl/batch.json");
    let lines: Vec<String> = definition.steps.iter().map(|step| line(&definition, step)).collect();
    assert_eq!(lines, graph, "{}", imported.definition);
    assert!(losses(&imported).contains(&"refused CopyAll".to_owned()), "{:#?}", imported.notes);
    let outputs = [("load", json!([{"id": 1}, {"id": 2}]))];
    runs("asl/batch.json", json!({}), &outputs, "COMPLETED", &["load", "bill[0]", "bill[1]"]);
}

#[test]
fn dynamic_fork_of_one_task() {
    let graph = [
        "list: media/list",
        "resize_all: media/resize each steps.list.output.images by 10000 after list",
        "publish: media/publish after resize_all",
    ];
    check("conductor/thumbnails.json", &graph, &[]);
    let outputs = [("list", json!({"images": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}))];
    let order = ["list", "resize_all[0]", "resize_all[1]", "resize_all[2]", "publish"];
    runs("conductor/thumbnails.json", json!({"folder": "f"}), &outputs, "COMPLETED", &order);
}

#[test]
fn loop_over_a_list() {
    let graph = [
        "pay: bank/transfer each input.employees by 1",
        "report: child payroll-report after pay undo child payroll-report",
    ];
    check("conductor/payroll.json", &graph, &["refused tasks/review_all"]);
    let input = json!({"month": "may", "employees": [{"iban": "a"}, {"iban": "b"}]});
    runs("conductor/payroll.json", input, &[], "COMPLETED", &["pay[0]", "pay[1]", "report"]);
}

#[test]
fn foreach_in_batches() {
    let graph = [
        "provision_orders: provisioning/provision each input.orders by 4",
        "report: reports/write after provision_orders",
    ];
    check("serverless/provision.yaml", &graph, &[]);
    let input = json!({"account": "a", "orders": [{"id": 1}, {"id": 2}]});
    let order = ["provision_orders[0]", "provision_orders[1]", "report"];
    runs("serverless/provision.yaml", input, &[], "COMPLETED", &order);
}

#[test]
fn dsl_with_a_call_of_grpc() {
    let graph = ["greet: gRPC greeter.api.v1.Greeter/SayHello at greeter.example:5011"];
    check("serverless/dsl-greet.yaml", &graph, &[]);
    runs("serverless/dsl-greet.yaml", json!({"user": "u"}), &[], "COMPLETED", &["greet"]);
}

#[test]
fn dsl_with_a_loop_over_a_list() {
    let graph = [
        "load: pets/load",
        "vaccinate: vet/vaccinate each steps.load.output.pets by 1 after load",
        "close: visits/close after vaccinate",
    ];
    check("serverless/dsl-pets.yaml", &graph, &["lost do/vaccinateAll"]);
    let outputs = [("load", json!({"pets": [{"name": "a"}, {"name": "b"}]}))];
    let order = ["load", "vaccinate[0]", "vaccinate[1]", "close"];
    runs("serverless/dsl-pets.yaml", json!({"owner": "o"}), &outputs, "COMPLETED", &order);
}

#[test]
fn undeclared_compensations_have_a_comment_and_a_note() {
    let (imported, _) = sample("conductor/order.json");
    let comments =
        imported.definition.matches("# declare how this step is undone\n    compensate: none\n").count();
    let notes = imported.notes.iter().filter(|note| note.text.contains("declare how it is undone")).count();
    assert_eq!((comments, notes), (3, 3), "{}", imported.definition);
}

#[test]
fn sources_without_a_counterpart_are_refused() {
    for (text, source, reason) in [
        ("{}", None, "the engine is not recognised"),
        ("[", None, "2:1: this is not YAML"),
        (r#"{"name": "a", "tasks": []}"#, None, "no step of the workflow can be expressed"),
        (r#"{"tasks": []}"#, None, "has a `name`"),
        (r#"{"QueryLanguage": "JSONata", "StartAt": "A", "States": {}}"#, None, "JSONata"),
        (r#"{"StartAt": "A", "States": {}}"#, None, "does not exist"),
        (r#"{"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "B"}}}"#, None, "does not exist"),
        ("id: a\nspecVersion: '0.8'\nstates: []", Some(Source::ServerlessWorkflow), "no states"),
        (r#"{"name": "a", "tasks": [{"type": "TERMINATE", "taskReferenceName": "t"}]}"#, None, "TERMINATE"),
    ] {
        let problems = import(text, source).expect_err(text);
        assert!(problems.to_string().contains(reason), "{text}: {problems}");
    }
}

#[test]
fn schema_that_cannot_be_expressed_is_lost() {
    let state = json!({"name": "A", "type": "sleep", "duration": "PT1S", "end": true});
    for (schema, expected) in [
        (json!({"schema": {"type": "object"}}), &[][..]),
        (json!("schema.json"), &["lost workflow/dataInputSchema"]),
        (json!({"$ref": "https://schemas.example/a.json"}), &["lost workflow/input"]),
    ] {
        let document = json!({"id": "a", "specVersion": "0.8", "dataInputSchema": schema, "states": [state]});
        let imported = import(&document.to_string(), None).unwrap();
        assert_eq!(losses(&imported), expected, "{}", imported.definition);
    }
}

#[test]
fn repetition_is_bounded() {
    let doubling = |at: usize| json!({"Type": "Pass", "Parameters": {"a.$": "$", "b.$": "$"}, "Next": format!("S{}", at + 1)});
    let mut states: serde_json::Map<String, Json> =
        (0..60).map(|at| (format!("S{at}"), doubling(at))).collect();
    states.insert("S60".to_owned(), json!({"Type": "Task", "Resource": "do", "End": true}));
    let imported = import(&json!({"StartAt": "S0", "States": states}).to_string(), None).unwrap();
    assert!(
        imported.notes.iter().any(|note| note.text.contains("more than 1000 values")),
        "{:?}",
        imported.notes
    );

    let mut machine =
        json!({"StartAt": "T", "States": {"T": {"Type": "Task", "Resource": "do", "End": true}}});
    for _ in 0..10 {
        let rule = |path: &str, next: &str| json!({"Variable": path, "BooleanEquals": true, "Next": next});
        let choice =
            json!({"Type": "Choice", "Choices": [rule("$.a", "P"), rule("$.b", "Q")], "Default": "E"});
        let states = json!({
            "C": choice,
            "Q": {"Type": "Wait", "Seconds": 1, "Next": "P"},
            "P": {"Type": "Parallel", "Branches": [machine.clone(), machine], "ResultPath": null, "End": true},
            "E": {"Type": "Succeed"},
        });
        machine = json!({"StartAt": "C", "States": states});
    }
    let text = machine.to_string();
    assert!(import(&text, None).unwrap_err().to_string().contains("repeat more than"), "{}", text.len());
}
