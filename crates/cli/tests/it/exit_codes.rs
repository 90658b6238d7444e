//! What a command ends with is what a script goes by.

use crate::command::{run, run_args, run_fed};
use crate::server::{id, serve};

#[test]
fn each_answer_has_its_code() {
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
        let ran = run(&server, &args);
        assert_eq!(ran.code, code, "{args}: {}", ran.stderr);
        assert!(code == 0 || ran.stderr.starts_with("error: "), "{args}: {}", ran.stderr);
    }
    assert_eq!(run("http://127.0.0.1:9", "workflow list").code, 6);
}

#[test]
fn a_wait_ends_as_the_workflow_ended() {
    let server = serve();
    for (nth, code) in [(0, 0), (1, 10), (2, 11), (3, 7), (4, 1)] {
        let ran = run(&server, &format!("workflow start {nth} --wait --timeout 1s"));
        assert_eq!(ran.code, code, "start {nth}: {}", ran.stderr);
        let ran = run(&server, &format!("workflow result {} --wait 1s", id(nth)));
        assert_eq!(ran.code, code, "result {nth}: {}", ran.stderr);
        if nth != 3 {
            let ran = run(&server, &format!("workflow watch {}", id(nth)));
            assert_eq!(ran.code, code, "watch {nth}: {}", ran.stderr);
        }
    }
}

#[test]
fn data_is_on_standard_output_and_nothing_else() {
    let server = serve();
    let ran = run(&server, "workflow start 0 -o name");
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), (format!("{}\n", id(0)).as_str(), ""));

    let ran = run(&server, "workflow start 1 --wait -o json");
    let answer: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(answer["status"], "ROLLED_BACK");

    // The API's JSON is not changed: fields keep their order.
    let ran = run(&server, &format!("workflow describe {} -o json", id(0)));
    let order = |text: &str| ["\"z\"", "\"a\""].map(|key| text.find(key).unwrap());
    let direct = serde_json::json!({"input": {"z": 1, "a": 2}}).to_string();
    assert_eq!(order(&ran.stdout)[0] < order(&ran.stdout)[1], order(&direct)[0] < order(&direct)[1]);

    let ran = run(&server, &format!("workflow result {}", id(0)));
    assert_eq!(ran.stdout, "{\n  \"total\": 3\n}\n");
    assert_eq!(run(&server, &format!("workflow result {} -q", id(0))).stderr, "");
}

#[test]
fn a_list_has_pages() {
    let server = serve();
    let ran = run(&server, "workflow list -o name");
    assert_eq!(ran.stdout, format!("{}\n{}\n", id(0), id(1)));
    assert!(ran.stderr.contains("--page-token more"), "{}", ran.stderr);
    let ran = run(&server, "workflow list -o name --all");
    assert_eq!(ran.stdout.lines().count(), 4);
    assert_eq!(ran.stderr, "");
    let ran = run(&server, "workflow list -o jsonl --all");
    assert_eq!(ran.stdout.lines().filter(|line| line.starts_with("{\"")).count(), 4);
    let ran = run(&server, "workflow list --all");
    assert!(ran.stdout.starts_with("ID "), "{}", ran.stdout);
}

#[test]
fn many_at_once_are_confirmed() {
    let server = serve();
    let filter = ["workflow", "cancel", "--filter", "definition = \"d\""];
    let ran = run_args(&server, &filter);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("2 workflows would be cancelled"), "{}", ran.stderr);
    assert!(ran.stderr.contains("--yes"), "{}", ran.stderr);

    // The one that is in error refuses in this server; the other is not held up by it.
    let ran = run_args(&server, &[&filter[..], &["--yes"]].concat());
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stdout.contains(&id(3)), "{}", ran.stdout);
    assert!(ran.stderr.contains("1 of 2 workflows refused"), "{}", ran.stderr);
}

#[test]
fn definitions_are_compared_and_refused_with_their_places() {
    let server = serve();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let same = file("same.yaml", "workflow: shop\nsteps: []\n");
    assert_eq!(run_args(&server, &["definition", "diff", &same]).code, 0);
    let other = file("other.yaml", "workflow: shop\nsteps: [x]\n");
    let ran = run_args(&server, &["definition", "diff", &other]);
    assert_eq!(ran.code, 9);
    assert!(ran.stdout.contains("-steps: []\n+steps: [x]\n"), "{}", ran.stdout);

    let wrong = file("wrong.yaml", "workflow: wrong\nsteps: []\n");
    let ran = run_args(&server, &["definition", "apply", &same, &wrong]);
    assert_eq!(ran.code, 8);
    assert!(ran.stdout.contains("shop version 1 applied"), "{}", ran.stdout);
    assert!(
        ran.stderr.contains("wrong.yaml:2:3: GC1004: says no undo\n 2 | steps: []\n   |   ^"),
        "{}",
        ran.stderr
    );

    let ran = run_fed(&server, &["definition", "apply", "-"], "workflow: fed\nsteps: []\n");
    assert_eq!(ran.stdout, "fed version 1 applied\n");
}
