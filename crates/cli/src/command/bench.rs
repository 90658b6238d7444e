//! `goconductor bench`

use crate::args::{BenchArgs, Measurement, ParticipantsArgs};
use crate::error::{CliError, Exit, Result};
use crate::output::Output;
use goconductor_bench::{
    BenchReport, Error, Limit, Options, ProgressListener, Run, Saga, TopologyResult, WriteSizes,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::time::Duration;

/// The default measurements: those that need no other server.
const DEFAULT_MEASUREMENTS: [Measurement; 4] =
    [Measurement::Dev, Measurement::DevHttp, Measurement::Limit, Measurement::Store];

/// Runs the measurements and prints the report.
pub(crate) async fn run(args: &BenchArgs, out: &Output) -> Result {
    let options = options(args);
    let progress = BenchProgress { out, bar: bar(out) };
    let report = goconductor_bench::run(&options, &progress).await;
    progress.bar.finish_and_clear();
    let report = report.map_err(|error| match error {
        Error::Options(reason) => CliError::new(Exit::Usage, reason).hint(
            "scripts/services/postgres.sh up and scripts/services/kafka.sh up start both and print their addresses",
        ),
        Error::Interrupted => CliError::new(Exit::Other, "a signal interrupted the measurement"),
        Error::Failed(error) => error.into(),
    })?;
    if !report.optimised {
        out.message("this is a debug build, so its figures are not meaningful");
    }
    write(&report, out)?;
    Ok(Exit::Success)
}

/// Runs the participants until standard input is closed.
pub(crate) async fn participants(args: &ParticipantsArgs) -> Result {
    match &args.gateway {
        Some(gateway) => goconductor_bench::serve_streams(gateway, args.certificates.as_deref()).await?,
        None => goconductor_bench::serve_http().await?,
    }
    Ok(Exit::Success)
}

fn options(args: &BenchArgs) -> Options {
    let what = if args.what.is_empty() { &DEFAULT_MEASUREMENTS[..] } else { &args.what };
    let mut topologies = Vec::new();
    for topology in what.iter().filter_map(|each| each.topology()) {
        if !topologies.contains(&topology) {
            topologies.push(topology);
        }
    }
    let mut sagas: Vec<Saga> = args.saga.iter().map(|saga| (*saga).into()).collect();
    if sagas.is_empty() {
        sagas.extend(Saga::ALL);
    }
    Options {
        topologies,
        limit: what.contains(&Measurement::Limit),
        store: what.contains(&Measurement::Store),
        sagas,
        in_flight: args.in_flight.clone(),
        count: args.count,
        idle: args.idle,
        duration: args.duration,
        rate: args.rate,
        ended: args.ended,
        waiting: args.waiting,
        limit_duration: args.limit_for,
        database_url: args.database_url.clone(),
        brokers: args.brokers.clone(),
        secure: args.secure,
        settings: args.settings.clone(),
        watch: args.watch_pid.clone(),
    }
}

/// Progress of the measurements: a bar on a terminal, otherwise one line for each part.
struct BenchProgress<'a> {
    out: &'a Output,
    bar: ProgressBar,
}

impl ProgressListener for BenchProgress<'_> {
    fn begin(&self, title: &str, parts: u64) {
        if !self.out.shows_progress() {
            self.out.message(title);
        }
        self.bar.reset();
        self.bar.set_length(parts);
        self.bar.set_message(title.to_owned());
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

fn write(report: &BenchReport, out: &Output) -> Result<()> {
    if out.structured_list(&json!(report).to_string(), "settings")? {
        return Ok(());
    }
    if out.names_only() {
        for (topology, run) in runs(report) {
            out.data(&format!("{}: {}", title(topology), run.name()))?;
        }
        return Ok(());
    }
    let machine = &report.machine;
    out.data(&format!("{} cores, {}, Linux {}", machine.cores, machine.processor, machine.kernel))?;
    if runs(report).next().is_some() {
        topologies(report, out)?;
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

fn runs(report: &BenchReport) -> impl Iterator<Item = (&TopologyResult, &Run)> {
    report.topologies.iter().flat_map(|topology| topology.runs.iter().map(move |run| (topology, run)))
}

/// Returns the name of a topology, with its security, its settings, its preloaded workflows and a note if it is not durable.
fn title(topology: &TopologyResult) -> String {
    let mut title = topology.topology.to_owned();
    if topology.secure {
        title.push_str(" secure");
    }
    for setting in &topology.set {
        title.push_str(&format!(" {setting}"));
    }
    for (count, what) in [(topology.ended_before, "ended"), (topology.waiting_before, "waiting")] {
        if count > 0 {
            title.push_str(&format!(" with {count} {what}"));
        }
    }
    if !topology.durable {
        title.push_str(" (not durable)");
    }
    title
}

fn topologies(report: &BenchReport, out: &Output) -> Result<()> {
    let row = |topology: &TopologyResult| {
        let memory =
            topology.memory_at_rest.iter().map(|each| format!("{} {}", each.name, number(each.pss_mib, 0)));
        vec![
            title(topology),
            topology.filled_per_second.map_or_else(|| "-".to_owned(), |rate| number(rate, 0)),
            number(topology.ready_ms, 0),
            memory.collect::<Vec<_>>().join(", "),
        ]
    };
    let heads = ["SETTING", "FILLED/S", "READY MS", "MEMORY AT REST, PSS MIB"];
    section(out, &heads, report.topologies.iter().map(row).collect())
}

fn loads(report: &BenchReport, out: &Output) -> Result<()> {
    let row = |(topology, run): (&TopologyResult, &Run)| {
        vec![
            title(topology),
            run.name(),
            number(run.sagas_per_second, 0),
            number(run.steps_per_second, 0),
            run.rejected.to_string(),
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
    out.data("REFUSED: requests that the gateway rejected because of overload; their retries count towards the latency")?;
    out.data("CPU S/1000: CPU time of GoConductor's own processes per 1,000 sagas; ALL: of all processes listed below")
}

fn processes(report: &BenchReport, out: &Output) -> Result<()> {
    let mut rows = Vec::new();
    for (topology, run) in runs(report) {
        for usage in &run.processes {
            rows.push(vec![
                title(topology),
                run.name(),
                usage.name.clone(),
                number(usage.cpu_seconds_per_1000, 2),
                number(usage.rss_peak_mib, 0),
                number(usage.pss_peak_mib, 0),
            ]);
        }
        rows.push(vec![
            title(topology),
            run.name(),
            "(other processes)".to_owned(),
            format!("{} s in total", number(run.others_cpu_seconds, 1)),
            String::new(),
            String::new(),
        ]);
    }
    section(out, &["SETTING", "SAGA", "PROCESS", "CPU S/1000", "RSS MIB", "PSS MIB"], rows)
}

fn over_time(report: &BenchReport, out: &Output) -> Result<()> {
    for (topology, run) in runs(report) {
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
        out.data(&format!("\n{}: {}", title(topology), run.name()))?;
        let heads = ["AT S", "SAGAS/S", "P50", "P99 MS", "MEMORY MIB", "DATABASE MIB"];
        out.table(&heads, steady.intervals.iter().map(row).collect())?;
        for slope in &steady.memory_slopes {
            out.data(&format!("{}: {} MiB per hour", slope.name, number(slope.mib_per_hour, 1)))?;
        }
        for (what, ratio) in [("p50", steady.p50_last_of_first), ("p99", steady.p99_last_of_first)] {
            if let Some(ratio) = ratio {
                out.data(&format!("{what}, last sixth relative to first: {}", number(ratio, 2)))?;
            }
        }
    }
    Ok(())
}

fn limits(report: &BenchReport, out: &Output) -> Result<()> {
    let mut rows = Vec::new();
    for limit in &report.limits {
        rows.extend(limit.rows.iter().map(|row| {
            let how = match row.batch_size {
                1 => "four statements per transaction".to_owned(),
                size => format!("batches of {size}"),
            };
            vec![database_title(limit), how, row.clients.to_string(), number(row.transitions_per_second, 0)]
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
    section(out, &["DATABASE", "HOW", "CONCURRENCY", "TRANSITIONS/S"], rows)?;
    let Some(limit) = report.limits.first() else { return Ok(()) };
    let WriteSizes { state, events, event, ledger } = limit.bytes;
    out.data(&format!(
        "bytes written per transition, the average of an order: {state} of state, {events} events of {event}, \
         one inserted and one deleted ledger row of {ledger}"
    ))
}

fn database_title(limit: &Limit) -> String {
    if limit.durable { limit.database.to_owned() } else { format!("{} (not durable)", limit.database) }
}

fn section(out: &Output, heads: &[&str], rows: Vec<Vec<String>>) -> Result<()> {
    out.data("")?;
    out.table(heads, rows)
}

fn number(value: f64, decimals: usize) -> String {
    format!("{value:.decimals$}")
}
