//! Snapshots: JSON of the API in, text out.

use super::*;
use serde_json::json;

const WIDE: Terminal = Terminal { width: 100, unicode: true, colour: false, interactive: false };
const NARROW: Terminal = Terminal { width: 60, unicode: false, colour: false, interactive: false };

/// Returns the time `millis` after the start of the workflow, as the API writes times.
fn at(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(1_767_225_600_000 + millis).unwrap().to_string()
}

fn picture(workflow: serde_json::Value, events: serde_json::Value, terminal: Terminal, now: i64) -> String {
    let workflow: Workflow = serde_json::from_value(workflow).unwrap();
    let events: Vec<Event> = serde_json::from_value(events).unwrap();
    draw(&workflow, &events, terminal, time::parse(&at(now)).unwrap())
}

fn event(seq: u64, millis: i64, kind: &str, step: &str, detail: serde_json::Value) -> serde_json::Value {
    json!({"seq": seq, "time": at(millis), "type": kind, "step": step, "detail": detail})
}

fn rolled_back() -> (serde_json::Value, serde_json::Value) {
    let refused = json!({"code": "OUT_OF_STOCK", "message": "sold-out is out of stock"});
    let workflow = json!({
        "id": "01999999-0000-7000-8000-000000000001",
        "definition": "order-processing", "version": 1,
        "status": "ROLLED_BACK", "cause": "STEP_FAILED", "error": refused,
        "input": {"order_id": "o-1", "amount": 42}, "created_at": at(0), "ended_at": at(1240),
        "labels": {"team": "shop"}, "idempotency_key": "order-o-1",
        "steps": [
            {"name": "process_payment", "title": "Process Payment", "status": "COMPENSATED", "attempts": 2,
             "compensation_attempts": 1},
            {"name": "update_inventory", "title": "Update Inventory", "status": "FAILED", "attempts": 1,
             "error": refused},
            {"name": "notify", "status": "PENDING", "attempts": 0},
        ],
    });
    let events = json!([
        {"seq": 1, "time": at(0), "type": "WORKFLOW_STARTED"},
        event(2, 0, "STEP_QUEUED", "process_payment", json!({})),
        event(3, 200, "ATTEMPT_FAILED", "process_payment", json!({"side": "execute", "started_at": at(20)})),
        event(4, 600, "STEP_COMPLETED", "process_payment", json!({"started_at": at(400)})),
        event(5, 600, "STEP_QUEUED", "update_inventory", json!({})),
        event(6, 820, "STEP_FAILED", "update_inventory", json!({"started_at": at(610), "failure": refused})),
        {"seq": 7, "time": at(820), "type": "ROLLBACK_STARTED"},
        event(8, 820, "COMPENSATION_QUEUED", "process_payment", json!({})),
        event(9, 1240, "STEP_COMPENSATED", "process_payment", json!({"started_at": at(840)})),
        {"seq": 10, "time": at(1240), "type": "WORKFLOW_ROLLED_BACK"},
    ]);
    (workflow, events)
}

#[test]
fn rollback_shows_both_tracks() {
    let (workflow, events) = rolled_back();
    insta::assert_snapshot!(picture(workflow, events, WIDE, 60_000));
}

#[test]
fn narrow_ascii_terminal_hides_the_status() {
    let (workflow, events) = rolled_back();
    insta::assert_snapshot!(picture(workflow, events, NARROW, 60_000));
}

#[test]
fn colours_keep_the_columns() {
    let (workflow, events) = rolled_back();
    let plain = picture(workflow.clone(), events.clone(), WIDE, 60_000);
    let coloured = picture(workflow, events, Terminal { colour: true, ..WIDE }, 60_000);
    assert!(coloured.contains("\u{1b}[35m"));
    let mut bare = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        bare.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    bare.push_str(rest);
    let bare: Vec<&str> = bare.lines().map(str::trim_end).collect();
    assert_eq!(bare.join("\n"), plain);
}

#[test]
fn waiting_workflow_shows_its_reasons() {
    let workflow = json!({
        "id": "01999999-0000-7000-8000-000000000002",
        "definition": "travel", "version": 3, "status": "IN_PROGRESS", "input": null,
        "created_at": at(0),
        "steps": [
            {"name": "book_flight", "status": "RETRYING", "attempts": 3,
             "error": {"code": "UNAVAILABLE", "message": "503"}},
            {"name": "book_hotel", "status": "IN_PROGRESS", "attempts": 1},
            {"name": "book_car", "status": "QUEUED", "attempts": 0},
        ],
        "waiting_on": [
            {"kind": "BACKOFF", "step": "book_flight", "since": at(9_000), "until": at(13_000)},
            {"kind": "IN_FLIGHT", "step": "book_hotel", "since": at(1_000), "until": at(31_000)},
            {"kind": "NO_WORKER", "step": "book_car", "since": at(0), "detail": "service cars has no address"},
            {"kind": "LATER_KIND"},
        ],
    });
    let failed = |from: i64| json!({"side": "execute", "started_at": at(from)});
    let events = json!([
        event(2, 0, "STEP_QUEUED", "book_flight", json!({})),
        event(3, 0, "STEP_QUEUED", "book_hotel", json!({})),
        event(4, 0, "STEP_QUEUED", "book_car", json!({})),
        event(5, 300, "ATTEMPT_FAILED", "book_flight", failed(10)),
        event(6, 1_200, "ATTEMPT_STARTED", "book_hotel", json!({"side": "execute", "started_at": at(1_000)})),
        event(7, 4_000, "ATTEMPT_FAILED", "book_flight", failed(3_000)),
        event(8, 9_000, "ATTEMPT_FAILED", "book_flight", failed(8_000)),
    ]);
    insta::assert_snapshot!(picture(workflow, events, WIDE, 12_000));
}

#[test]
fn failed_compensation_is_marked() {
    let workflow = json!({
        "id": "01999999-0000-7000-8000-000000000003",
        "definition": "d", "version": 1, "status": "ERROR", "cause": "CANCELLED", "input": {"a": "x".repeat(200)},
        "created_at": at(0),
        "steps": [
            {"name": "a", "title": "日本語 title that is far too long for its column and is cut", "status":
             "COMPENSATION_FAILED", "attempts": 1, "compensation_attempts": 20,
             "error": {"code": "NO", "message": "never"}},
            {"name": "b", "status": "SKIPPED"},
            {"name": "c", "status": "COMPENSATED", "attempts": 1, "compensation_attempts": 1},
        ],
        "waiting_on": [{"kind": "OPERATOR", "step": "a", "since": at(100)}],
    });
    let events = json!([
        event(2, 0, "STEP_QUEUED", "a", json!({})),
        event(3, 1, "STEP_COMPLETED", "a", json!({"started_at": at(0)})),
        event(4, 1, "STEP_SKIPPED", "b", json!({})),
        event(5, 1, "STEP_QUEUED", "c", json!({})),
        event(6, 2, "STEP_COMPLETED", "c", json!({"started_at": at(1)})),
        event(7, 3, "COMPENSATION_QUEUED", "c", json!({})),
        event(8, 4, "STEP_COMPENSATED", "c", json!({})),
        event(9, 4, "COMPENSATION_QUEUED", "a", json!({})),
        event(10, 90_000, "COMPENSATION_FAILED", "a", json!({"started_at": at(89_000)})),
    ]);
    insta::assert_snapshot!(picture(workflow, events, WIDE, 100_000));
}

#[test]
fn missing_history_falls_back_to_step_times() {
    let workflow = json!({
        "id": "w", "definition": "d", "version": 1, "status": "COMPLETED", "input": {},
        "output": {"total": 3}, "created_at": at(0), "ended_at": at(100),
        "steps": [{"name": "a", "status": "COMPLETED", "attempts": 1, "queued_at": at(0),
                   "started_at": at(50), "ended_at": at(100)}],
    });
    insta::assert_snapshot!(picture(workflow, json!([]), WIDE, 60_000));
}
