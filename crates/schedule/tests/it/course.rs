//! Courses of a schedule: overlaps, catch-up, pause, backfill, clocks.

use goconductor_schedule::{
    Backfill, MAX_RECENT, Overlap, Pause, RunKind, Schedule, ScheduleAction, ScheduleOrigin, ScheduledRun,
    Spec, TimingSpec,
};

const S: i64 = 1_000_000;

/// A schedule of every 10 s that was created at 0 s.
fn every_ten(overlap: Overlap, catch_up_ms: u64) -> Schedule {
    let mut spec = Spec::new("d", TimingSpec::Every { every_ms: 10_000, anchor: None });
    (spec.overlap, spec.catch_up_ms) = (overlap, catch_up_ms);
    Schedule::new(spec, ScheduleOrigin::Api, None, 0)
}

/// Performs all actions of a time. Returns the started due times in seconds.
fn run(schedule: &mut Schedule, now: i64, mut is_running: bool) -> Vec<i64> {
    let timing = schedule.timing().unwrap();
    let mut started = Vec::new();
    while let Some(action) = schedule.next(&timing, now * S, is_running) {
        match action {
            ScheduleAction::Start { due, kind } => {
                schedule.started(ScheduledRun { workflow: format!("{kind:?}-{due}"), due, kind });
                started.push(due / S);
                is_running = true;
            }
            ScheduleAction::Cancel { due } => schedule.cancelled(due),
        }
    }
    started
}

#[test]
fn each_due_time_is_started_once() {
    let mut schedule = every_ten(Overlap::Allow, 3_600_000);
    assert_eq!(run(&mut schedule, 9, false), [0; 0]);
    assert_eq!(run(&mut schedule, 10, false), [10]);
    assert_eq!(run(&mut schedule, 10, false), [0; 0]);
    assert_eq!(run(&mut schedule, 35, false), [20, 30]);
    assert_eq!(run(&mut schedule, 12, false), [0; 0], "the clock was set back");
    assert_eq!(run(&mut schedule, 39, false), [0; 0]);
    assert_eq!(run(&mut schedule, 40, false), [40]);
    assert_eq!(schedule.progress.last_due, Some(40 * S));
    assert_eq!((schedule.progress.started, schedule.progress.missed), (4, 0));
}

#[test]
fn unrecorded_start_is_repeated_with_the_same_due_time() {
    let mut schedule = every_ten(Overlap::Skip, 3_600_000);
    let timing = schedule.timing().unwrap();
    let before = schedule.clone();
    let first = schedule.next(&timing, 10 * S, false);
    let mut recovered = before;
    assert_eq!(recovered.next(&timing, 11 * S, false), first);
}

#[test]
fn due_times_that_overlap_are_skipped() {
    let mut schedule = every_ten(Overlap::Skip, 3_600_000);
    assert_eq!(run(&mut schedule, 10, false), [10]);
    assert_eq!(run(&mut schedule, 20, true), [0; 0]);
    assert_eq!(run(&mut schedule, 30, false), [30]);
    assert_eq!(schedule.progress.skipped, 1);
}

#[test]
fn one_due_time_is_buffered() {
    let mut schedule = every_ten(Overlap::BufferOne, 3_600_000);
    let timing = schedule.timing().unwrap();
    assert_eq!(run(&mut schedule, 10, false), [10]);
    assert_eq!(run(&mut schedule, 35, true), [0; 0]);
    assert_eq!((schedule.progress.buffered, schedule.progress.skipped), (Some(20 * S), 1));
    let wake = schedule.next_wake(&timing, 35 * S).unwrap();
    assert!(wake < 36 * S, "the end of the running workflow is looked for");
    assert_eq!(run(&mut schedule, 36, false), [20]);
    assert_eq!(schedule.next_wake(&timing, 36 * S), Some(40 * S));
}

#[test]
fn running_workflow_is_cancelled_and_the_newest_due_time_starts_after_it() {
    let mut schedule = every_ten(Overlap::CancelOther, 3_600_000);
    assert_eq!(run(&mut schedule, 10, false), [10]);
    assert_eq!(run(&mut schedule, 20, true), [0; 0]);
    assert_eq!(run(&mut schedule, 30, true), [0; 0]);
    assert_eq!((schedule.progress.buffered, schedule.progress.skipped), (Some(30 * S), 1));
    assert_eq!(run(&mut schedule, 31, false), [30]);
}

#[test]
fn due_times_older_than_the_window_are_missed() {
    let mut schedule = every_ten(Overlap::Allow, 25_000);
    assert_eq!(run(&mut schedule, 100, false), [80, 90, 100]);
    assert_eq!(schedule.progress.missed, 7);
    let mut schedule = every_ten(Overlap::Allow, 0);
    assert_eq!(run(&mut schedule, 101, false), [100], "a poll that is a second late misses nothing");
    assert_eq!(schedule.progress.missed, 9);
}

#[test]
fn long_outage_of_a_short_interval_is_counted_at_once() {
    let mut spec = Spec::new("d", TimingSpec::Every { every_ms: 1000, anchor: None });
    spec.catch_up_ms = 0;
    let mut schedule = Schedule::new(spec, ScheduleOrigin::Api, None, 0);
    let timing = schedule.timing().unwrap();
    let year = 31_536_000;
    assert!(schedule.next(&timing, year * S, false).is_some());
    assert_eq!(schedule.progress.missed, 31_535_997);
}

#[test]
fn paused_schedule_starts_nothing_and_does_not_make_up_for_it() {
    let mut schedule = every_ten(Overlap::Allow, 3_600_000);
    let timing = schedule.timing().unwrap();
    let pause = Pause { reason: Some("test".to_owned()), actor: None, since: 5 * S, by_archive: false };
    schedule.pause(pause, 5 * S);
    assert_eq!(run(&mut schedule, 50, false), [0; 0]);
    assert_eq!(schedule.next_wake(&timing, 50 * S), None);
    assert!(schedule.resume(None, 55 * S));
    assert!(!schedule.resume(None, 55 * S));
    assert_eq!(run(&mut schedule, 60, false), [60]);
    assert_eq!(schedule.generation, 3);
}

#[test]
fn backfill_starts_the_due_times_of_its_range() {
    let mut schedule = every_ten(Overlap::Skip, 3_600_000);
    let timing = schedule.timing().unwrap();
    schedule.progress.settled_until = 100 * S;
    schedule.progress.backfill = Some(Backfill { done_until: 20 * S, until: 50 * S });
    assert_eq!(schedule.next_wake(&timing, 101 * S), Some(101 * S));
    assert_eq!(run(&mut schedule, 101, true), [30, 40, 50], "a backfill does not obey the overlap policy");
    assert_eq!(schedule.progress.backfill, None);
    assert_eq!(schedule.progress.last_due, None);
    assert_eq!(schedule.next_wake(&timing, 101 * S), Some(110 * S));
}

#[test]
fn changed_timing_does_not_reach_into_the_past() {
    let mut schedule = every_ten(Overlap::Allow, 3_600_000);
    let spec = Spec::new("d", TimingSpec::Every { every_ms: 1000, anchor: None });
    schedule.replace(spec, ScheduleOrigin::Api, Some("ann".to_owned()), 25 * S);
    assert_eq!(run(&mut schedule, 26, false), [26]);
}

#[test]
fn refused_start_is_settled_and_kept() {
    let mut schedule = every_ten(Overlap::Allow, 3_600_000);
    let timing = schedule.timing().unwrap();
    schedule.failed(10 * S, RunKind::Due, "no such definition".to_owned());
    assert_eq!(schedule.next(&timing, 10 * S, false), None);
    assert_eq!(schedule.progress.failed, 1);
    assert_eq!(schedule.progress.last_failure.unwrap().due, 10 * S);
}

#[test]
fn recent_workflows_are_bounded_and_named_once() {
    let mut schedule = every_ten(Overlap::Allow, 3_600_000);
    for due in 0..30 {
        let run = ScheduledRun { workflow: format!("w{}", due / 2), due, kind: RunKind::Due };
        schedule.started(run);
    }
    assert_eq!(schedule.progress.recent.len(), MAX_RECENT);
    assert_eq!(schedule.progress.recent.first().unwrap().workflow, "w14");
}

#[test]
fn triggers_and_backfills_displace_no_due_workflow() {
    let run = |workflow: &str, due, kind| ScheduledRun { workflow: workflow.to_owned(), due, kind };
    for first in [RunKind::Due, RunKind::Buffered] {
        let mut schedule = every_ten(Overlap::Skip, 3_600_000);
        schedule.started(run("first", 10 * S, first));
        for nth in 0..3 * i64::try_from(MAX_RECENT).unwrap() {
            let kind = if nth % 2 == 0 { RunKind::Trigger } else { RunKind::Backfill };
            schedule.started(run(&format!("w{nth}"), nth, kind));
        }
        assert_eq!(schedule.progress.recent.len(), MAX_RECENT + 1);
        assert_eq!(schedule.progress.recent.first().unwrap().workflow, "w29");
        let due: Vec<&str> = schedule.due_runs().map(|run| run.workflow.as_str()).collect();
        assert_eq!(due, ["first"], "{first:?}");
    }
}

#[test]
fn backfill_of_a_due_time_does_not_take_its_workflow_away() {
    let mut schedule = every_ten(Overlap::Skip, 3_600_000);
    let run = |kind| ScheduledRun { workflow: "w".to_owned(), due: 10 * S, kind };
    schedule.started(run(RunKind::Due));
    schedule.started(run(RunKind::Backfill));
    assert_eq!(schedule.due_runs().count(), 1, "the workflow is still one that was due");
    let mut schedule = every_ten(Overlap::Skip, 3_600_000);
    schedule.started(run(RunKind::Backfill));
    schedule.started(run(RunKind::Due));
    assert_eq!((schedule.due_runs().count(), schedule.progress.recent.len()), (1, 1));
}
