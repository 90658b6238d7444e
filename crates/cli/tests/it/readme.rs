//! The commands of the README and of the examples, run against a real server: each ```console block is a script with
//! expected output. The programs that an example starts in the background run before its first block.
//!
//! A line that starts with `$ ` is a command. A backslash at the end of a line and a here-document continue it. All other
//! lines are expected output. In them, `…` matches any text, and any number of lines if it is alone on a line. The output of
//! a command without expected lines is not checked.

use crate::command::goconductor;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const README: &str = include_str!("../../../../README.md");
const EXAMPLES: [&str; 3] = [
    include_str!("../../../../examples/money-transfer/README.md"),
    include_str!("../../../../examples/subscription-billing/README.md"),
    include_str!("../../../../examples/travel-booking/README.md"),
];

/// The folder in which the commands of the examples run.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The address in the README.
const DEFAULT: &str = "127.0.0.1:8470";

/// The maximum time until the server is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// The line before the output of each command.
const MARKER: &str = "@@@ the output of command";

#[test]
fn console_blocks_print_the_expected_output() {
    let server = Server::start();
    let blocks = blocks(README);
    assert!(blocks.len() >= 3, "the README has fewer than three console blocks");
    for block in &blocks {
        check(block, server.folder.path(), &server);
    }
}

#[test]
fn console_blocks_of_the_examples_print_the_expected_output() {
    for text in EXAMPLES {
        let server = Server::start();
        let commands = text.lines().filter_map(|line| line.strip_suffix(" &"));
        let programs: Vec<Program> = commands.map(|command| Program::start(command, &server)).collect();
        assert!(!programs.is_empty(), "the example starts no program:\n{text}");
        let blocks = blocks(text);
        assert!(blocks.len() >= 3, "the example has fewer than three console blocks:\n{text}");
        for block in &blocks {
            check(block, Path::new(ROOT), &server);
        }
    }
}

/// A program of an example. Dropping it kills the process.
struct Program(Child);

impl Program {
    fn start(command: &str, server: &Server) -> Self {
        let name = command.split(' ').next().unwrap();
        let path = Path::new(env!("CARGO_BIN_EXE_goconductor")).with_file_name(name);
        assert!(path.is_file(), "{name} was not built; run cargo build --workspace --bins");
        let child = Command::new("bash")
            .args(["-c", &format!("exec {command} --gateway http://{}", server.address)])
            .envs(server.environment())
            .env("data", server.folder.path())
            .stdin(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The process may have exited already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A command with its expected output.
#[derive(Debug, Default, PartialEq, Eq)]
struct Step {
    command: String,
    expected: Vec<String>,
}

fn blocks(text: &str) -> Vec<Vec<Step>> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim_end() == "```console" {
            blocks.push(steps(&mut lines));
        }
    }
    blocks
}

fn steps<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut here_document: Option<String> = None;
    while let Some(line) = lines.next().filter(|line| *line != "```") {
        let is_continued =
            here_document.is_some() || steps.last().is_some_and(|step| step.command.ends_with('\\'));
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { command: command.to_owned(), expected: Vec::new() });
        } else if let (true, Some(step)) = (is_continued, steps.last_mut()) {
            step.command.push('\n');
            step.command.push_str(line);
        } else {
            steps.last_mut().expect("a block begins with a command").expected.push(line.to_owned());
            continue;
        }
        here_document = match (here_document, line.split_once("<<'")) {
            (Some(end), _) if end == line => None,
            (Some(end), _) => Some(end),
            (None, Some((_, rest))) => rest.split_once('\'').map(|(end, _)| end.to_owned()),
            (None, None) => None,
        };
    }
    steps
}

fn check(block: &[Step], folder: &Path, server: &Server) {
    let mut script = String::from("set -e -o pipefail\nexec 2>&1\n");
    for (nth, step) in block.iter().enumerate() {
        script.push_str(&format!("echo; echo '{MARKER} {nth}'\n{}\n", server.localized(&step.command)));
    }
    let output = Command::new("bash")
        .args(["-c", &script])
        .envs(server.environment())
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    for (nth, step) in block.iter().enumerate() {
        let (_, rest) =
            output.split_once(&format!("{MARKER} {nth}\n")).unwrap_or_else(|| panic!("{step:?}\n{output}"));
        let printed: Vec<&str> =
            rest.split(&format!("\n{MARKER}")).next().unwrap_or_default().trim_end().lines().collect();
        let expected: Vec<String> = step.expected.iter().map(|line| server.localized(line)).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        assert!(
            step.expected.is_empty() || lines_match(&expected, &printed),
            "{}\n--- expected\n{}\n--- printed\n{}",
            step.command,
            expected.join("\n"),
            printed.join("\n")
        );
    }
}

fn lines_match(expected: &[&str], printed: &[&str]) -> bool {
    match (expected.split_first(), printed.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some((&"…", rest)), _) => {
            (0..=printed.len()).any(|skipped| lines_match(rest, &printed[skipped..]))
        }
        (Some(_), None) => false,
        (Some((first, expected)), Some((line, printed))) => {
            line_matches(first, line.trim_end()) && lines_match(expected, printed)
        }
    }
}

fn line_matches(expected: &str, printed: &str) -> bool {
    let mut parts = expected.trim_end().split('…');
    let Some(mut rest) = printed.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    true
}

/// A `goconductor dev --demo` on a free port. Dropping it kills the process.
struct Server {
    child: Child,
    address: String,
    folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = goconductor(&format!("http://{address}"))
            .args(["dev", "--demo", "--listen", &address, "--data-dir"])
            .arg(folder.path().join("data"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut this = Self { child, address, folder };
        let deadline = Instant::now() + READY_TIMEOUT;
        while !this.is_ready() {
            let ended = this.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{ended:?}: {}", this.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        this
    }

    fn is_ready(&self) -> bool {
        let probe = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(&self.address)?;
            stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
            let mut response = String::new();
            stream.read_to_string(&mut response)?;
            Ok(response)
        };
        probe().is_ok_and(|response| response.starts_with("HTTP/1.1 200"))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Replaces the address of the README with the address of this server.
    fn localized(&self, text: &str) -> String {
        text.replace(DEFAULT, &self.address)
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let binary = Path::new(env!("CARGO_BIN_EXE_goconductor"));
        let path = std::env::var("PATH").unwrap_or_default();
        vec![
            ("PATH", format!("{}:{path}", binary.parent().unwrap().display())),
            ("GOCONDUCTOR_SERVER", format!("http://{}", self.address)),
            ("COLUMNS", "100".to_owned()),
            ("LC_ALL", "C.UTF-8".to_owned()),
        ]
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The process may have exited already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn blocks_are_split_into_commands_and_output() {
    let text =
        "a\n```console\n$ one \\\n    more\nout …\n$ cat <<'END'\n$x\nEND\noutput\n```\n```sh\n$ no\n```\n";
    let step = |command: &str, expected: &str| Step {
        command: command.to_owned(),
        expected: vec![expected.to_owned()],
    };
    assert_eq!(blocks(text), [[step("one \\\n    more", "out …"), step("cat <<'END'\n$x\nEND", "output")]]);
}

#[test]
fn ellipsis_matches_text_and_lines() {
    for (expected, printed, matches) in [
        (vec!["a … c"], vec!["a b c"], true),
        (vec!["a … c"], vec!["a c"], false),
        (vec!["…c"], vec!["abc"], true),
        (vec!["a…"], vec!["a"], true),
        (vec!["a…b…c"], vec!["a1b2c"], true),
        (vec!["a", "…", "c"], vec!["a", "b", "b", "c"], true),
        (vec!["a", "…", "c"], vec!["a", "c"], true),
        (vec!["a", "…"], vec!["a"], true),
        (vec!["a"], vec!["a", "b"], false),
        (vec!["a", "b"], vec!["a"], false),
    ] {
        assert_eq!(lines_match(&expected, &printed), matches, "{expected:?} {printed:?}");
    }
}
