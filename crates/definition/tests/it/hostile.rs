//! Texts that mean harm: none takes long, much memory or the stack, and none makes a panic.

use crate::yaml;
use goconductor_definition::{Format, Limits, parse};
use std::time::{Duration, Instant};

/// Far above what any of them takes, and far below what they would take unguarded.
const SOON: Duration = Duration::from_secs(5);

/// Refused (or, where it is harmless, accepted) on a thread with the stack of a server's worker.
fn soon(name: &str, text: String) {
    let name = name.to_owned();
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        let begun = Instant::now();
        for format in [Format::Yaml, Format::Json] {
            drop(parse(text.as_bytes(), format, &Limits::default()));
        }
        begun.elapsed()
    });
    let took = thread.unwrap().join().unwrap_or_else(|_| panic!("{name} made a panic"));
    assert!(took < SOON, "{name} took {took:?}");
}

fn when(expression: &str) -> String {
    format!("workflow: a\nsteps:\n- {{name: s, run: a/b, compensate: none, when: {expression:?}}}")
}

#[test]
fn bombs_and_towers_are_refused_soon() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let of = format!("*a{},", level - 1).repeat(10);
        laughs.push_str(&format!("a{level}: &a{level} [{of}]\n"));
    }
    soon("an alias bomb", laughs);
    soon("open brackets", "[".repeat(500_000));
    soon("open braces", "{a: ".repeat(100_000));
    soon("open JSON", "{\"a\":".repeat(100_000));
    soon("indentation", (0..700).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect());
    soon("dashes", "- ".repeat(200_000));
    soon("many keys", (0..60_000).map(|n| format!("k{n}: 1\n")).collect());
    soon("one long text", format!("workflow: \"{}\"", "x".repeat(500_000)));
    soon("quotes", "'".repeat(500_000));
    soon("an alias of itself", "a: &a [*a]".to_owned());
    soon("merge keys", "x: &x {a: 1}\n<<: *x\nworkflow: a".to_owned());
    soon("tags", "workflow: !!python/object:os.system x\nsteps: !!binary aGk=".to_owned());
    soon("numbers", format!("workflow: {}\nsteps: 1e999999999", "9".repeat(100_000)));
}

#[test]
fn hostile_expressions_are_refused_soon() {
    for (name, expression) in [
        ("brackets", "(".repeat(500) + &")".repeat(500)),
        ("lists", "[".repeat(500)),
        ("negations", "!".repeat(1000) + "true"),
        ("minuses", "-".repeat(1000) + "1"),
        ("choices", "true?1:".repeat(140) + "1"),
        ("sums", "1+".repeat(500) + "1"),
        ("selections", "input".to_owned() + &".a".repeat(480)),
        ("indexes", "input".to_owned() + &"[0]".repeat(330)),
        ("calls", "size(".repeat(190) + &")".repeat(190)),
        ("ands", "a&&".repeat(330) + "a"),
        ("loops in loops", "input.a.all(x, input.a.all(y, input.a.all(z, x + y + z > 0)))".to_owned()),
        ("quotes", "'".repeat(1000)),
        ("a word", "x".repeat(1024)),
        ("too long", "1 + ".repeat(50_000) + "1"),
        ("other letters", "ħ€\u{0}\u{202e}".repeat(90)),
        ("spaces", " ".repeat(1024)),
    ] {
        soon(name, when(&expression));
        soon(
            name,
            format!(
                "workflow: a\noutput: {:?}\nsteps: [{{name: s, run: a/b, compensate: none}}]",
                format!("${{{expression}}}")
            ),
        );
    }
}

#[test]
fn a_schema_fetches_nothing_and_takes_no_time() {
    let input = |schema: &str| {
        format!("workflow: a\ninput: {schema}\nsteps: [{{name: s, run: a/b, compensate: none}}]")
    };
    soon("a remote schema", input("{$ref: 'http://10.255.255.1/x'}"));
    soon("a local schema", input("{$ref: 'file:///etc/passwd'}"));
    soon("a pattern", input("{type: string, pattern: '(a+)+$'}"));
    soon("a large pattern", input("{type: string, pattern: '((a{1000}){1000}){1000}'}"));
    soon("a schema of itself", input("{$ref: '#'}"));
    let schema = serde_json::json!({"type": "string", "pattern": "^(a+)+$"});
    let begun = Instant::now();
    let text = serde_json::json!("a".repeat(50_000) + "!");
    goconductor_definition::check_input(&schema, &text).unwrap_err();
    assert!(begun.elapsed() < SOON);
}

/// A cheap source of repeatable noise (xorshift).
struct Noise(u64);

impl Noise {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).unwrap()
    }
}

#[test]
fn no_damage_to_a_definition_makes_a_panic() {
    let example = include_str!("../../../../examples/order-processing.yaml");
    let rich = "workflow: a\ndefaults: {timeout: 3s, retry: {max_attempts: 2}}\nsteps:\n- name: f\n  when: input.a > 1\n  switch:\n  - {when: has(input.b), steps: [{name: x, run: a/b, compensate: {run: a/c, input: {v: \"${ steps.x.output.v }\"}}}]}\n  - steps: [{name: y, run: a/b, compensate: none, depends_on: []}]\n- {name: p, run: a/b, kind: pivot, depends_on: [f]}\noutput: \"${ steps.p.output }\"\n";
    let parts = [
        "[",
        "]",
        "{",
        "}",
        ":",
        "-",
        "\n",
        "  ",
        "&a",
        "*a",
        "${",
        "'",
        "\"",
        "\u{0}",
        "steps",
        "depends_on: [f]",
        "🦀",
        "\t",
        "#",
        "|",
        ">",
        "!!",
        "1e9",
    ];
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for round in 0..4000 {
        let mut text: Vec<char> = if round % 2 == 0 { example } else { rich }.chars().collect();
        for _ in 0..=noise.next(4) {
            let at = noise.next(text.len());
            match noise.next(3) {
                0 => drop(text.remove(at)),
                1 => drop(text.splice(at..at, parts[noise.next(parts.len())].chars()).collect::<Vec<_>>()),
                _ => {
                    let next = (at + 1).min(text.len() - 1);
                    text.swap(at, next);
                }
            }
        }
        let text: String = text.into_iter().collect();
        if let Err(problems) = yaml(&text) {
            assert!(!problems.is_empty() && problems.iter().all(|problem| problem.line >= 1), "{text}");
        }
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_with_their_place() {
    let problems = parse(b"workflow: a\nsteps: \xff\xfe", Format::Yaml, &Limits::default()).unwrap_err();
    assert_eq!((problems[0].code, problems[0].line, problems[0].column), ("GC1001", 2, 8));
    let large = vec![b'a'; (512 << 10) + 1];
    assert_eq!(parse(&large, Format::Yaml, &Limits::default()).unwrap_err()[0].code, "GC1002");
}
