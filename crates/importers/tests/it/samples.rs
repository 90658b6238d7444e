//! Twenty definitions in the style of the three engines: the graph that each one becomes, and the course of a workflow.

use goconductor_definition::{Format, Limits, parse};
use goconductor_importers::{Imported, Level, import};
use goconductor_saga::{Action, Call, Definition, Json, Step, WaitTime};
use goconductor_simulator::{SimulationRequest, simulate};
use std::collections::BTreeMap;
use std::path::Path;

/// Imports a sample, whose engine is recognised.
fn sample(name: &str) -> (Imported, Definition) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let imported = import(&text, None).unwrap_or_else(|problems| panic!("{name}: {problems}"));
    let limits = Limits::default();
    assert_eq!(goconductor_definition::format(&imported.definition, &limits).unwrap(), imported.definition);
    let checked = parse(imported.definition.as_bytes(), Format::Yaml, &limits).unwrap();
    (imported, checked.definition)
}

/// A step as text: its action, the steps that it waits for, its conditions and its compensation.
fn line(definition: &Definition, step: &Step) -> String {
    let mut text = format!("{}: {}", step.name, action(&step.action));
    let after = step.depends_on.iter().map(|index| definition.steps[index.0 as usize].name.as_str());
    let after: Vec<&str> = after.collect();
    if !after.is_empty() {
        text.push_str(&format!(" after {}", after.join(", ")));
    }
    for condition in &step.when {
        let word = if condition.holds { "if" } else { "unless" };
        text.push_str(&format!(" {word} {}", condition.expression));
    }
    if let Some(compensation) = &step.compensate {
        text.push_str(&format!(" undo {}", action(&compensation.action)));
    }
    text
}

fn action(action: &Action) -> String {
    match action {
        Action::Run { service, action } => format!("{service}/{action}"),
        Action::Call(call) => match call.as_ref() {
            Call::Http(http) => format!("{} {}", http.method, http.url),
        },
        Action::Sleep { time } => match time {
            WaitTime::Duration(duration) => format!("sleep {duration:?}"),
            WaitTime::Time(time) => format!("sleep until {}", time.0),
            WaitTime::Expression(expression) => format!("sleep {expression}"),
        },
        Action::Signal { name, .. } => format!("signal {name}"),
        Action::Child(child) => format!("child {}", child.workflow),
    }
}

/// The losses of an import, as `level path`.
fn losses(imported: &Imported) -> Vec<String> {
    let losses = imported.notes.iter().filter(|note| note.level != Level::Info);
    losses.map(|note| format!("{} {}", note.level.as_str(), note.path)).collect()
}

fn check(name: &str, graph: &[&str], expected_losses: &[&str]) -> Imported {
    let (imported, definition) = sample(name);
    let lines: Vec<String> = definition.steps.iter().map(|step| line(&definition, step)).collect();
    assert_eq!(lines, graph, "{}\n{:#?}", imported.definition, imported.notes);
    assert_eq!(losses(&imported), expected_losses, "{:#?}", imported.notes);
    assert_eq!(imported.has_losses(), !expected_losses.is_empty());
    imported
}

/// Checks the order in which a workflow calls its participants.
fn runs(name: &str, input: Json, outputs: &[(&str, Json)], end: &str, order: &[&str]) {
    let (imported, definition) = sample(name);
    let outputs: BTreeMap<String, Json> =
        outputs.iter().map(|(step, output)| ((*step).to_owned(), output.clone())).collect();
    let request = SimulationRequest { input: Some(input), outputs, ..SimulationRequest::default() };
    let report = simulate(&definition, &request).unwrap();
    let course = report.courses.iter().find(|course| course.step.is_none()).unwrap();
    let called: Vec<&str> = course.forward.iter().map(|side| side.step.as_str()).collect();
    assert_eq!((called.as_slice(), course.end), (order, end), "{}\n{:?}", imported.definition, course.note);
}

#[test]
fn print() {
    for dir in ["conductor", "asl", "serverless"] {
        let mut files: Vec<_> =
            std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(dir))
                .unwrap()
                .map(|e| e.unwrap().file_name())
                .collect();
        files.sort();
        for file in files {
            let name = format!("{dir}/{}", file.to_str().unwrap());
            println!("=== {name}");
            let text = std::fs::read_to_string(
                Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(&name),
            )
            .unwrap();
            match import(&text, None) {
                Err(p) => println!("PROBLEMS {p:#?}"),
                Ok(i) => {
                    println!("{}", i.definition);
                    for n in &i.notes {
                        println!("{n}");
                    }
                    let (_, d) = sample(&name);
                    for s in &d.steps {
                        println!("G {:?}", line(&d, s));
                    }
                    println!("L {:?}", losses(&i));
                }
            }
        }
    }
}
