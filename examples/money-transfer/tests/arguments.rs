//! The program is built with this test, so that the tests of the harness can start it.

use std::process::Command;

#[test]
fn program_describes_its_arguments() {
    let output = Command::new(env!("CARGO_BIN_EXE_bank")).arg("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("--data"), "{text}");
}
