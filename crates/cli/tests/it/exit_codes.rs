//! Exit codes, and the separation of data and messages.

use crate::command::{UNREACHABLE, run, run_args, run_with_input};
use crate::server::{id, serve};

#[test]
fn each_response_has_its_exit_code() {
    let server = serve();
    for (args, code) in [
        ("workflow start 0".to_owned(), 0),
        ("workflow start missing".to_owned(), 3),
        ("workflow start conflict".to_owned(), 4),
        ("workflow start forbidden".to_owned(), 5),
        ("workflow start invalid".to_owned(), 8),
        ("workflow start broken".to_owned(), 1),
        (format!("workflow describe {}", id(9)), 3),
        (format!("workflow history {}", id(9)), 3),
        (format!("workflow cancel {}", id(0)), 4),
        (format!("workflow cancel {}", id(3)), 0),
        ("definition get nothing".to_owned(), 3),
        ("definition get shop".to_owned(), 0),
    ] {
        let output = run(&server, &args);
        assert_eq!(output.code, code, "{args}: {}", output.stderr);
        assert!(code == 0 || output.stderr.starts_with("error: "), "{args}: {}", output.stderr);
    }
    assert_eq!(run("http://127.0.0.1:9", "workflow list").code, 6);
}

#[test]
fn wait_exits_with_the_outcome_of_the_workflow() {
    let server = serve();
    for (nth, code) in [(0, 0), (1, 10), (2, 11), (3, 7), (4, 1)] {
        let output = run(&server, &format!("workflow start {nth} --wait --timeout 1s"));
        assert_eq!(output.code, code, "start {nth}: {}", output.stderr);
        let output = run(&server, &format!("workflow result {} --wait 1s", id(nth)));
        assert_eq!(output.code, code, "result {nth}: {}", output.stderr);
        if nth != 3 {
            let output = run(&server, &format!("workflow watch {}", id(nth)));
            assert_eq!(output.code, code, "watch {nth}: {}", output.stderr);
        }
    }
}

#[test]
fn health_exits_with_0_or_1() {
    let server = serve();
    let healthy = run(&server, "health");
    assert_eq!((healthy.code, healthy.stdout.as_str(), healthy.stderr.as_str()), (0, "ok\n", ""));
    let unready = run(&format!("{server}/unready"), "health");
    assert_eq!((unready.code, unready.stdout.as_str()), (1, ""));
    let expected = "/unready is not healthy: it is unready\n  database: refused\n";
    assert!(unready.stderr.ends_with(expected), "{}", unready.stderr);
    assert_eq!(run(&format!("{server}/unready"), "health --live").code, 0);
    let silent = run(&format!("{server}/silent"), "health --timeout 50ms");
    assert_eq!(silent.code, 1);
    assert!(
        silent.stderr.ends_with("/silent is not healthy: no response within 50ms\n"),
        "{}",
        silent.stderr
    );
    // Neither a server of another kind nor a missing one is healthy.
    for other in [format!("{server}/other"), UNREACHABLE.to_owned()] {
        for args in ["health", "health --live"] {
            assert_eq!(run(&other, args).code, 1, "{args} of {other}");
        }
    }
    let json = run(&server, "health -o json");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json.stdout).unwrap()["ready"], true);
}

#[test]
fn standard_output_holds_only_data() {
    let server = serve();
    let output = run(&server, "workflow start 0 -o name");
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), (format!("{}\n", id(0)).as_str(), ""));

    let output = run(&server, "workflow start 1 --wait -o json");
    let answer: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(answer["status"], "ROLLED_BACK");

    // The JSON of the API keeps the order of its fields.
    let output = run(&server, &format!("workflow describe {} -o json", id(0)));
    let order = |text: &str| ["\"z\"", "\"a\""].map(|key| text.find(key).unwrap());
    let direct = serde_json::json!({"input": {"z": 1, "a": 2}}).to_string();
    assert_eq!(order(&output.stdout)[0] < order(&output.stdout)[1], order(&direct)[0] < order(&direct)[1]);

    let output = run(&server, &format!("workflow result {}", id(0)));
    assert_eq!(output.stdout, "{\n  \"total\": 3\n}\n");
    assert_eq!(run(&server, &format!("workflow result {} -q", id(0))).stderr, "");
}

#[test]
fn list_prints_one_page_or_all() {
    let server = serve();
    let output = run(&server, "workflow list -o name");
    assert_eq!(output.stdout, format!("{}\n{}\n", id(0), id(1)));
    assert!(output.stderr.contains("--page-token more"), "{}", output.stderr);
    let output = run(&server, "workflow list -o name --all");
    assert_eq!(output.stdout.lines().count(), 4);
    assert_eq!(output.stderr, "");
    let output = run(&server, "workflow list -o jsonl --all");
    assert_eq!(output.stdout.lines().filter(|line| line.starts_with("{\"")).count(), 4);
    let output = run(&server, "workflow list --all");
    assert!(output.stdout.starts_with("ID "), "{}", output.stdout);
}

#[test]
fn bulk_operation_needs_a_confirmation() {
    let server = serve();
    let filter = ["workflow", "cancel", "--filter", "definition = \"d\""];
    let output = run_args(&server, &filter);
    assert_eq!(output.code, 2, "{}", output.stderr);
    assert!(output.stderr.contains("2 workflows would be cancelled"), "{}", output.stderr);
    assert!(output.stderr.contains("--yes"), "{}", output.stderr);

    // The server rejects the operation for the workflow in error. The other workflow is still cancelled.
    let output = run_args(&server, &[&filter[..], &["--yes"]].concat());
    assert_eq!(output.code, 4, "{}", output.stderr);
    assert!(output.stdout.contains("COMPLETED"), "{}", output.stdout);
    assert!(output.stderr.contains("1 of 2 workflows cancelled"), "{}", output.stderr);
    assert!(output.stderr.contains("1 of 2 workflows rejected the operation"), "{}", output.stderr);
    assert!(output.stderr.contains(&format!("{}: GC2015: in error", id(2))), "{}", output.stderr);
}

#[test]
fn batch_commands_show_batches_and_their_workflows() {
    let server = serve();
    let create = ["batch", "create", "retry", "--filter", "status = ERROR", "--reason", "fixed", "--yes"];
    let output = run_args(&server, &[&create[..], &["--no-wait", "-o", "name"]].concat());
    assert_eq!(output.code, 0, "{}", output.stderr);
    let batch = output.stdout.trim().to_owned();
    let other = run_args(&server, &[&create[..], &["--expect", "3"]].concat());
    assert_eq!(other.code, 4, "{}", other.stderr);
    assert_eq!(run(&server, "batch list -o name").stdout.trim(), batch);
    assert!(run(&server, &format!("batch get {batch}")).stdout.contains("COMPLETED"));
    assert_eq!(run(&server, "batch get nothing").code, 3);
    let items = run(&server, &format!("batch items {batch} --status refused -o name"));
    assert_eq!(items.stdout.trim(), id(2));
    assert_eq!(run(&server, &format!("batch items {batch} --all -o name")).stdout.lines().count(), 2);
    assert_eq!(run(&server, &format!("batch watch {batch}")).code, 4);
    let retry = ["workflow", "retry", "--filter", "status = ERROR", "--step", "pay", "--yes"];
    assert_eq!(run_args(&server, &retry).code, 4);
}

#[test]
fn definition_diff_and_apply_report_differences_and_problems() {
    let server = serve();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let same = file("same.yaml", "workflow: shop\nsteps: []\n");
    assert_eq!(run_args(&server, &["definition", "diff", "--text", &same]).code, 0);
    let other = file("other.yaml", "workflow: shop\nsteps: [x]\n");
    let output = run_args(&server, &["definition", "diff", "--text", &other]);
    assert_eq!(output.code, 9);
    assert!(output.stdout.contains("-steps: []\n+steps: [x]\n"), "{}", output.stdout);

    let wrong = file("wrong.yaml", "workflow: wrong\nsteps: []\n");
    let output = run_args(&server, &["definition", "apply", &same, &wrong]);
    assert_eq!(output.code, 8);
    assert!(output.stdout.contains("shop version 1 applied"), "{}", output.stdout);
    assert!(
        output.stderr.contains("wrong.yaml:2:3: GC1004: missing compensation\n 2 | steps: []\n   |   ^"),
        "{}",
        output.stderr
    );

    let output = run_with_input(&server, &["definition", "apply", "-"], "workflow: fed\nsteps: []\n");
    assert_eq!(output.stdout, "fed version 1 applied\n");
}

#[test]
fn definitions_are_compared_formatted_and_simulated_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let step = "  - { name: a, run: s/a, compensate: s/undo_a }\n";
    let old = file("old.yaml", &format!("workflow: w\nsteps:\n{step}"));
    let same = file("same.yaml", &format!("# A comment.\nsteps:\n{step}workflow: w\n"));
    let new = file(
        "new.yaml",
        "workflow: w\nsteps:\n  - { name: a, run: s/a, compensate: { run: s/undo_a, retry: 2 } }\n",
    );
    let offline = |args: &[&str]| run_args(UNREACHABLE, args);
    assert_eq!(offline(&["definition", "diff", &old, &same]).code, 0);
    let output = offline(&["definition", "diff", &old, &new]);
    assert_eq!(
        (output.code, output.stdout.contains("+ step a: compensate.retry.max_attempts: 2")),
        (9, true),
        "{}",
        output.stdout
    );

    assert_eq!(offline(&["definition", "fmt", "--check", &old]).code, 0);
    assert_eq!(offline(&["definition", "fmt", "--check", &same]).code, 9);
    assert_eq!(offline(&["definition", "fmt", &same]).code, 0);
    let formatted = std::fs::read_to_string(&same).unwrap();
    assert_eq!(formatted, format!("# A comment.\nworkflow: w\nsteps:\n{step}"));

    let output = offline(&["definition", "simulate", &old]);
    assert_eq!(output.code, 0, "{}{}", output.stdout, output.stderr);
    assert!(output.stdout.contains("a compensation"), "{}", output.stdout);
    let output = offline(&["definition", "simulate", &new]);
    assert_eq!(output.code, 1, "{}{}", output.stdout, output.stderr);
    assert!(output.stderr.contains("the effect of a remains"), "{}", output.stderr);
    let output = offline(&["definition", "simulate", &old, "--fail", "a=unknown", "-o", "json"]);
    let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(report["courses"][0]["end"], "ROLLED_BACK", "{report}");
    assert_eq!(offline(&["definition", "simulate", &old, "--fail", "b"]).code, 3);

    for template in ["order", "travel", "money-transfer", "subscription"] {
        let path = folder.path().join(format!("{template}.yaml")).display().to_string();
        assert_eq!(offline(&["definition", "init", template, "--file", &path]).code, 0);
        assert_eq!(offline(&["definition", "validate", &path]).code, 0);
        assert_eq!(offline(&["definition", "fmt", "--check", &path]).code, 0);
        let output = offline(&["definition", "simulate", &path]);
        assert_eq!(output.code, 0, "{template}: {}{}", output.stdout, output.stderr);
        assert_ne!(offline(&["definition", "init", template, "--file", &path]).code, 0);
        let output = offline(&["definition", "graph", "--file", &path, "--format", "svg"]);
        assert!(output.stdout.starts_with("<svg "), "{}", output.stdout);
    }
}

#[test]
fn definitions_of_other_engines_are_imported_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("order.json");
    let task = r#"{"name": "payments.charge", "taskReferenceName": "charge", "type": "SIMPLE", "inputParameters": {}}"#;
    let path_text = path.display().to_string();
    let offline = |args: &[&str]| run_args(UNREACHABLE, args);

    std::fs::write(&path, format!(r#"{{"name": "order", "tasks": [{task}]}}"#)).unwrap();
    let output = offline(&["definition", "import", &path_text, "--strict", "-o", "yaml"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(output.stdout.contains("run: payments/charge"), "{}", output.stdout);
    assert!(output.stderr.contains("declare how it is undone"), "{}", output.stderr);
    let output = offline(&["definition", "import", &path_text, "--from", "asl"]);
    assert_eq!((output.code, output.stdout.as_str()), (8, ""), "{}", output.stderr);

    let end = r#"{"taskReferenceName": "end", "type": "TERMINATE"}"#;
    std::fs::write(&path, format!(r#"{{"name": "order", "tasks": [{task}, {end}]}}"#)).unwrap();
    let output = offline(&["definition", "import", &path_text, "--strict"]);
    assert_eq!((output.code, output.stdout.as_str()), (8, ""), "{}", output.stderr);
    assert!(output.stderr.contains("refused: tasks/end: TERMINATE"), "{}", output.stderr);
    let output = offline(&["definition", "import", &path_text, "-o", "json"]);
    let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((output.code, &report["source"]), (0, &serde_json::json!("conductor")), "{report}");
}
