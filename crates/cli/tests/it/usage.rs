//! What is wrong with a command line is said before anything is done.

use crate::command::{NOBODY, run, run_args, run_fed};

const ID: &str = "01999999-0000-7000-8000-000000000001";

#[test]
fn a_wrong_command_line_ends_with_2() {
    for (args, says) in [
        ("", "Usage"),
        ("workflow", "Usage"),
        ("frobnicate", "unrecognized subcommand"),
        ("workflow frobnicate", "unrecognized subcommand"),
        ("workflow start", "DEFINITION"),
        ("workflow describe", "<ID>"),
        ("workflow start d --frobnicate", "unexpected argument"),
        ("workflow start d --version x", "invalid value"),
        ("workflow start d --label x", "KEY=VALUE"),
        ("workflow start d --timeout 5s", "--wait"),
        ("workflow start d --wait --timeout 5minutes", "a duration needs a unit"),
        ("workflow list --page-size 0", "1..=1000"),
        ("workflow list --page-size 1001", "1..=1000"),
        ("workflow count --by colour", "invalid value"),
        ("workflow terminate x", "--reason"),
        ("workflow skip x step", "--reason"),
        ("workflow complete x step", "--reason"),
        ("workflow cancel", "ID"),
        ("workflow list -o xml", "invalid value"),
        ("definition apply", "FILE"),
        ("definition graph", "NAME"),
        ("definition graph a --file b", "cannot be used with"),
        ("service set a", "--url"),
        ("config explain --set x", "PATH=VALUE"),
        ("lock release .. --owner me", "not . or .."),
        ("election describe .", "not . or .."),
        ("completion nosh", "invalid value"),
        ("dev --listen nowhere", "invalid"),
        ("workflow list --server https://x", "invalid server address"),
        ("doctor --state-store-url mysql://x", "neither sqlite:// nor postgres://"),
    ] {
        let ran = run(NOBODY, args);
        assert_eq!(ran.code, 2, "{args}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{args}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{args}");
    }
}

#[test]
fn nouns_of_later_releases_are_not_there() {
    for noun in ["schedule", "secret", "db", "audit", "top"] {
        let ran = run(NOBODY, noun);
        assert_eq!(ran.code, 2, "{noun}");
        assert!(ran.stderr.contains("unrecognized subcommand"), "{noun}: {}", ran.stderr);
    }
}

#[test]
fn what_needs_no_server_works_without_one() {
    for (args, says) in [
        ("version", "goconductor 0."),
        ("--version", "goconductor 0."),
        ("--help", "workflow"),
        ("workflow start --help", "--idempotency-key"),
        ("completion bash", "_goconductor"),
        ("completion zsh", "#compdef goconductor"),
        ("explain", "GC3001"),
        ("explain gc3001", "GC3001: unreachable server"),
        ("config explain", "executor.redelivery"),
        ("config explain --set limits.page_size=7", "flag --set"),
    ] {
        let ran = run(NOBODY, args);
        assert_eq!(ran.code, 0, "{args}: {}", ran.stderr);
        assert!(ran.stdout.contains(says), "{args}: {}", ran.stdout);
        assert_eq!(ran.stderr, "", "{args}");
    }
}

#[test]
fn an_error_is_said_in_one_form() {
    let ran = run(NOBODY, "workflow list");
    assert_eq!(ran.code, 6);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert!(
        lines[0].starts_with("error: failed to reach the server at http://127.0.0.1:9: "),
        "{}",
        ran.stderr
    );
    assert!(lines[1].starts_with("hint: "), "{}", ran.stderr);
    assert_eq!(lines[2], "see: goconductor explain GC3001");
    assert_eq!(lines.len(), 3);
}

#[test]
fn input_has_to_be_json() {
    for args in [vec!["--input", "{order:1}"], vec!["--input", "-"]] {
        let all: Vec<&str> = ["workflow", "start", "d"].into_iter().chain(args).collect();
        let ran = run_fed(NOBODY, &all, "[1,\n2");
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains("see: goconductor explain GC3005"), "{}", ran.stderr);
    }
    let ran = run_args(NOBODY, &["workflow", "start", "d", "--input", "@/nowhere.json"]);
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.contains("/nowhere.json can't be read"), "{}", ran.stderr);
}

#[test]
fn an_id_is_given_in_full() {
    for verb in ["describe", "history", "watch", "result", "cancel", "pause", "resume"] {
        let ran = run(NOBODY, &format!("workflow {verb} {}", &ID[..8]));
        assert_eq!(ran.code, 3, "{verb}");
        assert!(ran.stderr.contains("an id is given in full"), "{}", ran.stderr);
    }
}

#[test]
fn an_unknown_code_is_not_found_and_a_wrong_configuration_is_invalid() {
    assert_eq!(run(NOBODY, "explain GC9999").code, 3);
    let ran = run(NOBODY, "config explain --set limits.page_sise=7");
    assert_eq!(ran.code, 8);
    assert!(ran.stderr.contains("did you mean page_size?"), "{}", ran.stderr);
    assert!(ran.stderr.contains("see: goconductor explain GC0001"), "{}", ran.stderr);
}

#[test]
fn every_code_of_the_command_line_has_a_page() {
    for code in ["GC3001", "GC3002", "GC3003", "GC3004", "GC3005", "GC3006", "GC3007"] {
        assert_eq!(run(NOBODY, &format!("explain {code}")).code, 0, "{code}");
    }
    for code in 3010..=3016 {
        assert_eq!(run(NOBODY, &format!("explain GC{code}")).code, 0, "{code}");
    }
}
