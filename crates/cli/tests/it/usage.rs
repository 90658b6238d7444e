//! Usage errors, help, and commands that need no server.

use crate::command::{UNREACHABLE, run, run_args, run_with_input};

const ID: &str = "01999999-0000-7000-8000-000000000001";

#[test]
fn invalid_command_line_exits_with_2() {
    for (args, expected) in [
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
        ("workflow retry x", "STEP"),
        ("workflow retry x step --filter y", "cannot be used with"),
        ("workflow skip --filter y", "--reason"),
        ("batch create", "--filter"),
        ("batch create explode --filter x --reason y", "invalid value"),
        ("batch items", "<ID>"),
        ("workflow list -o xml", "invalid value"),
        ("definition apply", "FILE"),
        ("definition graph", "NAME"),
        ("definition graph a --file b", "cannot be used with"),
        ("service set a", "--url"),
        ("config explain --set x", "PATH=VALUE"),
        ("lock release .. --owner me", "must not be empty"),
        ("election describe .", "must not be empty"),
        ("completion nosh", "invalid value"),
        ("wf", "Start a workflow"),
        (
            "dev --listen nowhere",
            "expected an address and port such as 127.0.0.1:8470, [::1]:8470 or localhost:8470",
        ),
        ("dev --listen 127.0.0.256:1", "found \"127.0.0.256:1\""),
        ("lock list --limit 0", "1..=1000"),
        ("dlq ls --limit 1001", "1..=1000"),
        ("workflow list --server ftp://x", "invalid server address"),
        ("doctor --state-store-url mysql://x", "neither sqlite:// nor postgres://"),
        ("db", "Usage"),
        ("db backup", "<FILE>"),
        ("db migrate --finish --dry-run", "cannot be used with"),
        ("db migrate --to x", "invalid value"),
        ("db status --state-store-url mysql://x", "neither sqlite:// nor postgres://"),
        ("db backup x --state-store-url postgres://db/orders", "pg_dump"),
        ("db restore x --state-store-url postgres://db/orders", "pg_restore"),
    ] {
        let output = run(UNREACHABLE, args);
        assert_eq!(output.code, 2, "{args}: {}", output.stderr);
        assert!(output.stderr.contains(expected), "{args}: {}", output.stderr);
        assert_eq!(output.stdout, "", "{args}");
    }
}

#[test]
fn commands_of_later_releases_do_not_exist() {
    let output = run(UNREACHABLE, "top");
    assert_eq!(output.code, 2);
    assert!(output.stderr.contains("unrecognized subcommand"), "{}", output.stderr);
}

#[test]
fn offline_commands_need_no_server() {
    for (args, expected) in [
        ("version", "goconductor 0."),
        ("--version", "goconductor 0."),
        ("--help", "workflow"),
        ("workflow start --help", "--idempotency-key"),
        ("completion bash", "_goconductor"),
        ("completion zsh", "#compdef goconductor"),
        ("completion fish", "GOCONDUCTOR_COMPLETE"),
        ("wf --help", "[alias: ls]"),
        ("explain", "GC3001"),
        ("explain gc3001", "GC3001: unreachable server"),
        ("config explain", "executor.redelivery"),
        ("config explain --set limits.page_size=7", "flag --set"),
    ] {
        let output = run(UNREACHABLE, args);
        assert_eq!(output.code, 0, "{args}: {}", output.stderr);
        assert!(output.stdout.contains(expected), "{args}: {}", output.stdout);
        assert_eq!(output.stderr, "", "{args}");
    }
}

#[test]
fn error_has_message_hint_and_page() {
    let output = run(UNREACHABLE, "workflow list");
    assert_eq!(output.code, 6);
    let lines: Vec<&str> = output.stderr.lines().collect();
    assert!(
        lines[0].starts_with("error: failed to reach the server at http://127.0.0.1:9: "),
        "{}",
        output.stderr
    );
    assert!(lines[1].starts_with("hint: "), "{}", output.stderr);
    assert_eq!(lines[2], "see: goconductor explain GC3001");
    assert_eq!(lines.len(), 3);
}

#[test]
fn invalid_json_input_is_a_usage_error() {
    for args in [vec!["--input", "{order:1}"], vec!["--input", "-"]] {
        let all: Vec<&str> = ["workflow", "start", "d"].into_iter().chain(args).collect();
        let output = run_with_input(UNREACHABLE, &all, "[1,\n2");
        assert_eq!(output.code, 2, "{}", output.stderr);
        assert!(output.stderr.contains("see: goconductor explain GC3005"), "{}", output.stderr);
    }
    let output = run_args(UNREACHABLE, &["workflow", "start", "d", "--input", "@/nowhere.json"]);
    assert_eq!(output.code, 3);
    assert!(output.stderr.contains("failed to read /nowhere.json"), "{}", output.stderr);
}

#[test]
fn abbreviated_id_is_not_found() {
    for verb in ["describe", "history", "watch", "result", "cancel", "pause", "resume"] {
        let output = run(UNREACHABLE, &format!("workflow {verb} {}", &ID[..8]));
        assert_eq!(output.code, 3, "{verb}");
        assert!(output.stderr.contains("use the full id of 36 characters"), "{}", output.stderr);
    }
}

#[test]
fn unknown_code_is_not_found_and_invalid_configuration_exits_with_8() {
    assert_eq!(run(UNREACHABLE, "explain GC9999").code, 3);
    let output = run(UNREACHABLE, "config explain --set limits.page_sise=7");
    assert_eq!(output.code, 8);
    assert!(output.stderr.contains("did you mean page_size?"), "{}", output.stderr);
    assert!(output.stderr.contains("see: goconductor explain GC0001"), "{}", output.stderr);
}

#[test]
fn every_code_of_the_command_line_has_a_page() {
    for code in ["GC3001", "GC3002", "GC3003", "GC3004", "GC3005", "GC3006", "GC3007"] {
        assert_eq!(run(UNREACHABLE, &format!("explain {code}")).code, 0, "{code}");
    }
    for code in 3010..=3016 {
        assert_eq!(run(UNREACHABLE, &format!("explain GC{code}")).code, 0, "{code}");
    }
}
