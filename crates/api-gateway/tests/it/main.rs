//! The gateway as a process of its own: an invalid configuration is refused at startup.
#![allow(clippy::expect_used, reason = "a failed expectation fails the test")]

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_api-gateway"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GOCONDUCTOR_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).output().expect("the binary runs")
}

#[test]
fn invalid_configuration_error_names_the_setting() {
    for (arguments, code, message) in [
        (&["--set", "listne=127.0.0.1:0"][..], 8, "did you mean"),
        (&["--listen", "nowhere"], 8, "--listen"),
        (&["--listen", "0.0.0.0:0"], 8, "GC2060"),
        (&["--set", "queue.backend=kafka"], 8, "queue.brokers"),
        (&["--config", "/no/such/file.yaml"], 8, "/no/such/file.yaml"),
        (&["--listen", "127.0.0.1:0"], 1, "state_store.endpoints is missing"),
        (&["--nonsense"], 2, "--nonsense"),
    ] {
        let output = run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(message), "{arguments:?}: {stderr}");
    }
}
