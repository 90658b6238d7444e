//! Due times of patterns and intervals, and refused specifications.

use goconductor_schedule::{Spec, SpecError, TimingSpec, rfc3339};
use proptest::prelude::*;

pub(crate) fn micros(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_microsecond()
}

pub(crate) fn cron(pattern: &str, zone: &str) -> TimingSpec {
    TimingSpec::Cron { cron: pattern.to_owned(), timezone: Some(zone.to_owned()) }
}

fn every(every_ms: u64, anchor: Option<&str>) -> TimingSpec {
    TimingSpec::Every { every_ms, anchor: anchor.map(micros) }
}

fn next(spec: TimingSpec, after: &str, count: usize) -> Vec<String> {
    let timing = Spec::new("d", spec).check().unwrap();
    timing.between(micros(after), i64::MAX, count).into_iter().map(rfc3339).collect()
}

#[test]
fn patterns_have_the_expected_due_times() {
    for (pattern, after, expected) in [
        ("0 9 * * *", "2026-11-30T09:00:00Z", "2026-12-01T09:00:00Z"),
        ("0 9 * * *", "2026-11-30T08:59:59.999999Z", "2026-11-30T09:00:00Z"),
        ("*/15 * * * *", "2026-11-30T09:01:00Z", "2026-11-30T09:15:00Z"),
        ("*/10 * * * * *", "2026-11-30T09:01:01Z", "2026-11-30T09:01:10Z"),
        ("30 0 12 * * MON-FRI", "2026-11-28T00:00:00Z", "2026-11-30T12:00:30Z"),
        ("0 0 1 JAN *", "2026-11-28T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("0 0 29 2 *", "2026-11-28T00:00:00Z", "2028-02-29T00:00:00Z"),
        // Day and weekday: either matches.
        ("0 0 13 * FRI", "2026-11-28T00:00:00Z", "2026-12-04T00:00:00Z"),
        ("0 0 * * 7", "2026-11-30T00:00:00Z", "2026-12-06T00:00:00Z"),
        ("@hourly", "2026-11-30T09:00:00Z", "2026-11-30T10:00:00Z"),
        ("@daily", "2026-11-30T09:00:00Z", "2026-12-01T00:00:00Z"),
        ("@midnight", "2026-11-30T09:00:00Z", "2026-12-01T00:00:00Z"),
        ("@weekly", "2026-11-30T09:00:00Z", "2026-12-06T00:00:00Z"),
        ("@monthly", "2026-11-30T09:00:00Z", "2026-12-01T00:00:00Z"),
        ("@yearly", "2026-11-30T09:00:00Z", "2027-01-01T00:00:00Z"),
    ] {
        assert_eq!(next(cron(pattern, "UTC"), after, 1), [expected], "{pattern}");
    }
}

#[test]
fn intervals_are_multiples_from_the_anchor() {
    let day = "2026-11-30T09:07:00Z";
    assert_eq!(next(every(900_000, None), day, 2), ["2026-11-30T09:15:00Z", "2026-11-30T09:30:00Z"]);
    let anchored = every(900_000, Some("2030-01-01T00:02:00Z"));
    assert_eq!(next(anchored, day, 2), ["2026-11-30T09:17:00Z", "2026-11-30T09:32:00Z"]);
    assert_eq!(next(every(1_500, None), day, 2), ["2026-11-30T09:07:01.5Z", "2026-11-30T09:07:03Z"]);
}

#[test]
fn invalid_specifications_are_refused() {
    for (spec, key) in [
        (cron("", "UTC"), "cron"),
        (cron("* * * *", "UTC"), "cron"),
        (cron("* * * * * * *", "UTC"), "cron"),
        (cron("60 * * * *", "UTC"), "cron"),
        (cron("0 0 30 2 *", "UTC"), "cron"),
        (cron("@reboot", "UTC"), "cron"),
        (cron("@daily", "Europe/Atlantis"), "timezone"),
        (cron("@daily", ""), "timezone"),
        (cron(&"*".repeat(300), "UTC"), "cron"),
        (every(999, None), "every"),
        (every(u64::MAX, None), "every"),
    ] {
        let error = Spec::new("d", spec.clone()).check().unwrap_err();
        assert_eq!(error.key(), key, "{spec:?}: {error}");
    }
    let mut spec = Spec::new("d", every(1000, None));
    spec.catch_up_ms = 31 * 86_400_000;
    assert_eq!(spec.check().unwrap_err(), SpecError::CatchUp);
    let mut spec = Spec::new("d", every(1000, None));
    spec.input = serde_json::json!({"at": "${ schedule.day }"});
    assert_eq!(spec.check().unwrap_err(), SpecError::Placeholder("day".to_owned()));
}

#[test]
fn stored_form_is_stable() {
    let mut spec = Spec::new("report", cron("@daily", "Europe/Berlin"));
    spec.input = serde_json::json!({"at": "${ schedule.time }"});
    let text = r#"{"definition":"report","cron":"@daily","timezone":"Europe/Berlin","overlap":"skip","catch_up_ms":3600000,"input":{"at":"${ schedule.time }"}}"#;
    assert_eq!(serde_json::to_string(&spec).unwrap(), text);
    assert_eq!(serde_json::from_str::<Spec>(text).unwrap(), spec);
    let text = r#"{"definition":"report","every_ms":1000,"anchor":5,"overlap":"allow","catch_up_ms":0}"#;
    let spec: Spec = serde_json::from_str(text).unwrap();
    assert_eq!(spec.timing, TimingSpec::Every { every_ms: 1000, anchor: Some(5) });
    assert_eq!(serde_json::to_string(&spec).unwrap(), text);
}

proptest! {
    #[test]
    fn any_text_is_a_pattern_or_refused(text in "[@*/,0-9a-zA-Z# ?-]{0,30}") {
        let _ = Spec::new("d", cron(&text, "Europe/Berlin")).check();
    }

    #[test]
    fn due_times_rise(at in 0_i64..4_000_000_000, step in 1_u64..100_000_000) {
        for spec in [
            TimingSpec::Every { every_ms: step.max(1000), anchor: Some(-7) },
            cron("*/7 2,3 * * *", "Australia/Lord_Howe"),
            cron("30 1-3 * * *", "Europe/Berlin"),
            cron("* * * * *", "America/New_York"),
        ] {
            let timing = Spec::new("d", spec).check().unwrap();
            let mut last = at * 1_000_000;
            for _ in 0..20 {
                let due = timing.next_after(last).unwrap();
                prop_assert!(due > last);
                // The same due time is found from every time in between.
                prop_assert_eq!(timing.next_after(due - 1), Some(due));
                last = due;
            }
        }
    }
}
