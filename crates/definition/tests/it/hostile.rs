//! Hostile texts: none takes long, uses much memory, overflows the stack or causes a panic.

use crate::yaml;
use goconductor_definition::{Format, Limits, parse};
use std::time::{Duration, Instant};

/// Maximum time for a text: far longer than any of them needs, and far shorter than they would take without limits.
const MAX_TIME: Duration = Duration::from_secs(5);

/// Parses a text on a thread with the stack size of a server's worker thread. A harmless text may be accepted.
fn parse_in_time(name: &str, text: String) {
    let name = name.to_owned();
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        let started = Instant::now();
        for format in [Format::Yaml, Format::Json] {
            drop(parse(text.as_bytes(), format, &Limits::default()));
        }
        started.elapsed()
    });
    let took = thread.unwrap().join().unwrap_or_else(|_| panic!("{name} caused a panic"));
    assert!(took < MAX_TIME, "{name} took {took:?}");
}

fn when(expression: &str) -> String {
    format!("workflow: a\nsteps:\n- {{name: s, run: a/b, compensate: none, when: {expression:?}}}")
}

#[test]
fn deeply_nested_or_multiplied_texts_are_refused_in_time() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let of = format!("*a{},", level - 1).repeat(10);
        laughs.push_str(&format!("a{level}: &a{level} [{of}]\n"));
    }
    parse_in_time("an alias bomb", laughs);
    parse_in_time("open brackets", "[".repeat(500_000));
    parse_in_time("open braces", "{a: ".repeat(100_000));
    parse_in_time("open JSON", "{\"a\":".repeat(100_000));
    parse_in_time("indentation", (0..700).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect());
    parse_in_time("dashes", "- ".repeat(200_000));
    parse_in_time("many keys", (0..60_000).map(|n| format!("k{n}: 1\n")).collect());
    parse_in_time("one long text", format!("workflow: \"{}\"", "x".repeat(500_000)));
    parse_in_time("quotes", "'".repeat(500_000));
    parse_in_time("an alias of itself", "a: &a [*a]".to_owned());
    parse_in_time("merge keys", "x: &x {a: 1}\n<<: *x\nworkflow: a".to_owned());
    parse_in_time("tags", "workflow: !!python/object:os.system x\nsteps: !!binary aGk=".to_owned());
    parse_in_time("numbers", format!("workflow: {}\nsteps: 1e999999999", "9".repeat(100_000)));
}

#[test]
fn hostile_expressions_are_refused_in_time() {
    for (name, expression) in [
        ("brackets", "(".repeat(500) + &")".repeat(500)),
        ("lists", "[".repeat(500)),
        ("negations", "!".repeat(1000) + "true"),
        ("minuses", "-".repeat(1000) + "1"),
        ("conditionals", "true?1:".repeat(140) + "1"),
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
        parse_in_time(name, when(&expression));
        parse_in_time(
            name,
            format!(
                "workflow: a\noutput: {:?}\nsteps: [{{name: s, run: a/b, compensate: none}}]",
                format!("${{{expression}}}")
            ),
        );
    }
}

#[test]
fn schema_fetches_nothing_and_is_checked_in_time() {
    let input = |schema: &str| {
        format!("workflow: a\ninput: {schema}\nsteps: [{{name: s, run: a/b, compensate: none}}]")
    };
    parse_in_time("a remote schema", input("{$ref: 'http://10.255.255.1/x'}"));
    parse_in_time("a local schema", input("{$ref: 'file:///etc/passwd'}"));
    parse_in_time("a pattern", input("{type: string, pattern: '(a+)+$'}"));
    parse_in_time("a large pattern", input("{type: string, pattern: '((a{1000}){1000}){1000}'}"));
    parse_in_time("a schema of itself", input("{$ref: '#'}"));
    let schema = serde_json::json!({"type": "string", "pattern": "^(a+)+$"});
    let started = Instant::now();
    let text = serde_json::json!("a".repeat(50_000) + "!");
    goconductor_definition::check_input(&schema, &text).unwrap_err();
    assert!(started.elapsed() < MAX_TIME);
}

#[test]
fn schema_that_multiplies_checks_is_refused_in_time() {
    let mut defs: String = (0..24)
        .map(|level| {
            format!(
                "d{level}: {{anyOf: [{{$ref: '#/$defs/d{next}'}}, {{$ref: '#/$defs/d{next}'}}]}}, ",
                next = level + 1
            )
        })
        .collect();
    defs.push_str("d24: {required: [b]}");
    let text = format!(
        "workflow: a\ninput: {{$ref: '#/$defs/d0', $defs: {{{defs}}}}}\nsteps: [{{name: s, run: a/b, compensate: none}}]"
    );
    let started = Instant::now();
    let problems = yaml(&text).unwrap_err();
    assert_eq!((problems[0].code, problems[0].pointer.as_str()), ("GC1002", "/input"), "{problems:?}");
    assert!(started.elapsed() < MAX_TIME);
}

/// A seeded random number generator (xorshift).
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
fn damaged_definition_causes_no_panic() {
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
fn invalid_utf8_is_refused_with_its_location() {
    let problems = parse(b"workflow: a\nsteps: \xff\xfe", Format::Yaml, &Limits::default()).unwrap_err();
    assert_eq!((problems[0].code, problems[0].line, problems[0].column), ("GC1001", 2, 8));
    let utf16 = parse(b"\xff\xfew\0o\0", Format::Yaml, &Limits::default()).unwrap_err();
    assert_eq!((utf16[0].code, utf16[0].line, utf16[0].column), ("GC1001", 1, 1));
    assert!(utf16[0].detail.contains("UTF-16"), "{utf16:?}");
    let large = vec![b'a'; (512 << 10) + 1];
    assert_eq!(parse(&large, Format::Yaml, &Limits::default()).unwrap_err()[0].code, "GC1002");
}
