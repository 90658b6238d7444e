//! Drawings of definitions.

use super::*;
use goconductor_definition::{Format, Limits, parse};

const TRIP: &str = "
workflow: trip
title: A & B <trip>
steps:
  - name: both
    parallel:
      left: [{ name: end, title: 'A \"title\" <b>&', run: s/a, compensate: s/no_a }]
      right:
        - { name: b, run: s/b, compensate: none }
        - { name: c, run: s/c, compensate: s/no_c, when: 'input.n < 3' }
  - { name: pay, run: bank/pay, kind: pivot }
";

fn trip() -> Definition {
    parse(TRIP.as_bytes(), Format::Yaml, &Limits::default()).unwrap().definition
}

#[test]
fn undo_edges_skip_steps_without_a_compensation() {
    let text = "
workflow: w
steps:
  - { name: a, run: s/a, compensate: s/no_a }
  - { name: b, run: s/b, compensate: none }
  - { name: c, run: s/c, compensate: s/no_c }
";
    let definition = parse(text.as_bytes(), Format::Yaml, &Limits::default()).unwrap().definition;
    assert_eq!(undo_edges(&definition), [("c".to_owned(), "a".to_owned())]);
}

#[test]
fn texts_are_escaped_in_every_format() {
    let trip = trip();
    let mermaid = mermaid(&trip);
    assert!(mermaid.contains("step_end[\"A #34;title#34; #60;b#62;#38;<br/>s/a\"]"), "{mermaid}");
    assert!(mermaid.contains("step_end --> step_pay"), "{mermaid}");
    let dot = dot(&trip);
    assert!(dot.contains("step_end [label=\"A \\\"title\\\" <b>&\\ns/a\"]"), "{dot}");
    let svg = svg(&trip);
    assert!(svg.contains("A &quot;title&quot; &lt;b&gt;&amp;"), "{svg}");
    assert!(svg.contains("<title>A &amp; B &lt;trip&gt;</title>"), "{svg}");
    assert!(svg.contains("input.n &lt; 3"), "{svg}");
}

#[test]
fn svg_has_every_step_within_its_bounds() {
    let svg = svg(&trip());
    assert_eq!(svg.matches("<rect class=\"step").count(), 4, "{svg}");
    assert_eq!(svg.matches("<rect class=\"undo\"").count(), 2, "{svg}");
    assert_eq!(svg.matches("marker-end=\"url(#arrow)\"").count(), 3, "{svg}");
    let number = |text: &str, key: &str| -> usize {
        let rest = text.split(&format!(" {key}=\"")).nth(1).unwrap();
        rest.split('"').next().unwrap().parse().unwrap()
    };
    let (width, height) = (number(&svg, "width"), number(&svg, "height"));
    for rect in svg.lines().filter(|line| line.starts_with("<rect")) {
        assert!(number(rect, "x") + number(rect, "width") <= width, "{rect}");
        assert!(number(rect, "y") + number(rect, "height") <= height, "{rect}");
    }
}
