//! `goconductor bench …`

use crate::args::{BenchArgs, Measurement, ParticipantsArgs};
use crate::error::{CliError, Exit, Result};
use crate::output::Output;
use goconductor_bench::{Bytes, Error, Limit, Measured, Options, Progress, Report, Run, Saga};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::time::Duration;

/// What is measured unless it is said: all that needs nothing else on this machine.
const BY_DEFAULT: [Measurement; 4] =
    [Measurement::Dev, Measurement::DevHttp, Measurement::Limit, Measurement::Store];

/// Measures, and shows what came of it.
pub(crate) async fn run(args: &BenchArgs, out: &Output) -> Result {
    let options = options(args);
    let bar = Bar { out, bar: bar(out) };
    let report = goconductor_bench::run(&options, &bar).await;
    bar.bar.finish_and_clear();
    let report = report.map_err(|error| match error {
        Error::Options(reason) => CliError::new(Exit::Usage, reason).hint(
            "scripts/services/postgres.sh up and scripts/services/kafka.sh up start both and say where",
        ),
        Error::Interrupted => CliError::new(Exit::Other, "the measurement was ended by a signal"),
        Error::Failed(error) => error.into(),
    })?;
    if !report.optimised {
        out.message("this program was not built for speed: the figures mean nothing");
    }
    write(&report, out)?;
    Ok(Exit::Done)
}

/// Carries the participants out until standard input ends.
pub(crate) async fn participants(args: &ParticipantsArgs) -> Result {
    match &args.gateway {
        Some(gateway) => goconductor_bench::serve_streams(gateway).await?,
        None => goconductor_bench::serve_http().await?,
    }
    Ok(Exit::Done)
}

fn options(args: &BenchArgs) -> Options {
    let what = if args.what.is_empty() { &BY_DEFAULT[..] } else { &args.what };
    let mut settings = Vec::new();
    for setting in what.iter().filter_map(|each| each.setting()) {
        if !settings.contains(&setting) {
            settings.push(setting);
        }
    }
    let mut sagas: Vec<Saga> = args.saga.iter().map(|saga| (*saga).into()).collect();
    if sagas.is_empty() {
        sagas.extend(Saga::ALL);
    }
    Options {
        settings,
        limit: what.contains(&Measurement::Limit),
        store: what.contains(&Measurement::Store),
        sagas,
        in_flight: args.in_flight.clone(),
        count: args.count,
        idle: args.idle,
        span: args.span,
        rate: args.rate,
        ended: args.ended,
        waiting: args.waiting,
        limit_span: args.limit_for,
        database_url: args.database_url.clone(),
        brokers: args.brokers.clone(),
        watch: args.watch_pid.clone(),
    }
}

/// Progress for people: a bar where it can be drawn, else a line for each part.
struct Bar<'a> {
    out: &'a Output,
    bar: ProgressBar,
}

impl Progress for Bar<'_> {
    fn begin(&self, what: &str, parts: u64) {
        if !self.out.shows_progress() {
            self.out.message(what);
        }
        self.bar.reset();
        self.bar.set_length(parts);
        self.bar.set_message(what.to_owned());
    }

    fn advance(&self, parts: u64) {
        self.bar.inc(parts);
    }
}

fn bar(out: &Output) -> ProgressBar {
    if !out.shows_progress() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    bar.enable_steady_tick(Duration::from_millis(500));
    match ProgressStyle::with_template("{spinner} {msg:40} {wide_bar} {pos}/{len} {per_sec}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn write(report: &Report, out: &Output) -> Result<()> {
    if out.structured_list(&json!(report).to_string(), "settings")? {
        return Ok(());
    }
    if out.names_only() {
        for (measured, run) in runs(report) {
            out.data(&format!("{}: {}", title(measured), run.name()))?;
        }
        return Ok(());
    }
    let machine = &report.machine;
    out.data(&format!("{} cores, {}, Linux {}", machine.cores, machine.processor, machine.kernel))?;
    if runs(report).next().is_some() {
        settings(report, out)?;
        loads(report, out)?;
        processes(report, out)?;
        over_time(report, out)?;
    }
    limits(report, out)?;
    if !report.ratios.is_empty() {
        let row =
            |each: &goconductor_bench::Ratio| vec![each.what.clone(), each.to.clone(), number(each.ratio, 3)];
        section(out, &["WHAT", "TO", "RATIO"], report.ratios.iter().map(row).collect())?;
    }
    Ok(())
}

fn runs(report: &Report) -> impl Iterator<Item = (&Measured, &Run)> {
    report.settings.iter().flat_map(|measured| measured.runs.iter().map(move |run| (measured, run)))
}

/// A setting with what was there beforehand, and whether it is durable.
fn title(measured: &Measured) -> String {
    let mut title = measured.setting.to_owned();
    for (count, what) in [(measured.ended_before, "ended"), (measured.waiting_before, "waiting")] {
        if count > 0 {
            title.push_str(&format!(" with {count} {what}"));
        }
    }
    if !measured.durable {
        title.push_str(" (not durable)");
    }
    title
}

fn settings(report: &Report, out: &Output) -> Result<()> {
    let row = |measured: &Measured| {
        let memory =
            measured.memory_at_rest.iter().map(|each| format!("{} {}", each.name, number(each.pss_mib, 0)));
        vec![
            title(measured),
            measured.filled_per_second.map_or_else(|| "-".to_owned(), |rate| number(rate, 0)),
            number(measured.ready_ms, 0),
            memory.collect::<Vec<_>>().join(", "),
        ]
    };
    let heads = ["SETTING", "FILLED/S", "READY MS", "MEMORY AT REST, PSS MIB"];
    section(out, &heads, report.settings.iter().map(row).collect())
}

fn loads(report: &Report, out: &Output) -> Result<()> {
    let row = |(measured, run): (&Measured, &Run)| {
        vec![
            title(measured),
            run.name(),
            number(run.sagas_per_second, 0),
            number(run.steps_per_second, 0),
            run.refused.to_string(),
            number(run.latency.p50_ms, 1),
            number(run.latency.p95_ms, 1),
            number(run.latency.p99_ms, 1),
            number(run.server_cpu_seconds_per_1000, 2),
            number(run.cpu_seconds_per_1000, 2),
        ]
    };
    let heads =
        ["SETTING", "SAGA", "SAGAS/S", "STEPS/S", "REFUSED", "P50", "P95", "P99 MS", "CPU S/1000", "ALL"];
    section(out, &heads, runs(report).map(row).collect())?;
    out.data("REFUSED: calls that were told to come back later, and did; their wait counts")?;
    out.data("CPU S/1000: processor time of GoConductor's own processes for 1,000 sagas; ALL: of all below")
}

fn processes(report: &Report, out: &Output) -> Result<()> {
    let mut rows = Vec::new();
    for (measured, run) in runs(report) {
        for usage in &run.processes {
            rows.push(vec![
                title(measured),
                run.name(),
                usage.name.clone(),
                number(usage.cpu_seconds_per_1000, 2),
                number(usage.rss_peak_mib, 0),
                number(usage.pss_peak_mib, 0),
            ]);
        }
        rows.push(vec![
            title(measured),
            run.name(),
            "(all others)".to_owned(),
            format!("{} s in all", number(run.others_cpu_seconds, 1)),
            String::new(),
            String::new(),
        ]);
    }
    section(out, &["SETTING", "SAGA", "PROCESS", "CPU S/1000", "RSS MIB", "PSS MIB"], rows)
}

fn over_time(report: &Report, out: &Output) -> Result<()> {
    for (measured, run) in runs(report) {
        let Some(steady) = &run.steady else { continue };
        let row = |interval: &goconductor_bench::Interval| {
            let memory =
                interval.memory.iter().map(|each| format!("{} {}", each.name, number(each.pss_mib, 0)));
            let sizes = interval.sizes.iter().map(|each| format!("{} {}", each.name, number(each.mib, 1)));
            vec![
                number(interval.at_seconds, 0),
                number(interval.sagas_per_second, 0),
                number(interval.latency.p50_ms, 1),
                number(interval.latency.p99_ms, 1),
                memory.collect::<Vec<_>>().join(", "),
                sizes.collect::<Vec<_>>().join(", "),
            ]
        };
        out.data(&format!("\n{}: {}", title(measured), run.name()))?;
        let heads = ["AT S", "SAGAS/S", "P50", "P99 MS", "MEMORY MIB", "DATABASE MIB"];
        out.table(&heads, steady.intervals.iter().map(row).collect())?;
        for slope in &steady.memory_slopes {
            out.data(&format!("{}: {} MiB an hour", slope.name, number(slope.mib_per_hour, 1)))?;
        }
        for (what, ratio) in [("p50", steady.p50_last_of_first), ("p99", steady.p99_last_of_first)] {
            if let Some(ratio) = ratio {
                out.data(&format!("{what}, last sixth to first: {}", number(ratio, 2)))?;
            }
        }
    }
    Ok(())
}

fn limits(report: &Report, out: &Output) -> Result<()> {
    let mut rows = Vec::new();
    for limit in &report.limits {
        rows.extend(limit.rows.iter().map(|row| {
            let how = match row.group {
                1 => "four statements in a transaction".to_owned(),
                group => format!("groups of {group}"),
            };
            vec![named(limit), how, row.clients.to_string(), number(row.transitions_per_second, 0)]
        }));
    }
    rows.extend(report.stores.iter().map(|store| {
        let how = format!("state store alone, p50 {} ms", number(store.latency.p50_ms, 1));
        let rate = number(store.transitions_per_second, 0);
        vec![store.database.to_owned(), how, store.in_flight.to_string(), rate]
    }));
    if rows.is_empty() {
        return Ok(());
    }
    section(out, &["DATABASE", "HOW", "AT ONCE", "TRANSITIONS/S"], rows)?;
    let Some(limit) = report.limits.first() else { return Ok(()) };
    let Bytes { state, events, event, ledger } = limit.bytes;
    out.data(&format!(
        "what the ways above write for a transition, as many bytes as an order's on average: {state} of state, \
         {events} events of {event}, a ledger row of {ledger} that comes and one that goes"
    ))
}

fn named(limit: &Limit) -> String {
    if limit.durable { limit.database.to_owned() } else { format!("{} (not durable)", limit.database) }
}

fn section(out: &Output, heads: &[&str], rows: Vec<Vec<String>>) -> Result<()> {
    out.data("")?;
    out.table(heads, rows)
}

fn number(value: f64, decimals: usize) -> String {
    format!("{value:.decimals$}")
}
