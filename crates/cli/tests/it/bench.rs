//! Small measurements from end to end: their reports, and the removal of their data.

use crate::command::{UNREACHABLE, goconductor, run};
use serde_json::Value;

/// Runs a measurement with its files in a temporary directory, and returns its report.
fn measured(args: &[&str]) -> Value {
    measured_with(args, &[("DATABASE_URL", ""), ("KAFKA_BROKERS", "")])
}

fn measured_with(args: &[&str], environment: &[(&str, &str)]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let mut command = goconductor(UNREACHABLE);
    command.envs(environment.iter().copied());
    let output = command.args(args).env("TMPDIR", folder.path()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "the measurement left files behind: {left:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

fn check_run(run: &Value, saga: &str, count: u64, steps: f64) {
    assert_eq!((run["saga"].as_str(), run["count"].as_u64()), (Some(saga), Some(count)), "{run}");
    let (sagas, calls) = (number(&run["sagas_per_second"]), number(&run["steps_per_second"]));
    assert!(sagas > 0.0 && (calls / sagas - steps).abs() < 0.1 * steps, "{run}");
    assert!((number(&run["seconds"]) * sagas / number(&run["count"]) - 1.0).abs() < 0.1, "{run}");
    let latency = ["p50_ms", "p95_ms", "p99_ms", "max_ms"].map(|key| number(&run["latency"][key]));
    assert!(latency[0] > 0.0 && latency.is_sorted(), "{run}");
}

fn processes(run: &Value) -> Vec<(&str, &str)> {
    let text = |value: &'static str| move |each: &Value| each[value].as_str().is_some();
    let all = run["processes"].as_array().unwrap();
    assert!(
        all.iter().all(text("name")) && all.iter().all(|each| number(&each["rss_peak_mib"]) > 1.0),
        "{run}"
    );
    all.iter().map(|each| (each["name"].as_str().unwrap(), each["role"].as_str().unwrap())).collect()
}

#[test]
fn dev_runs_all_sagas_with_in_process_participants() {
    let report =
        measured(&["bench", "dev", "--count", "50", "--idle", "5", "--in-flight", "8", "-o", "json"]);
    let [setting] = &report["settings"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!((setting["setting"].as_str(), setting["database"].as_str()), (Some("dev"), Some("sqlite")));
    assert!(number(&setting["ready_ms"]) > 0.0);
    let [idle, order, undo, chain, parallel] = &setting["runs"].as_array().unwrap()[..] else {
        panic!("{setting}")
    };
    check_run(idle, "order", 5, 3.0);
    check_run(order, "order", 50, 3.0);
    check_run(undo, "undo", 25, 5.0);
    check_run(chain, "chain", 12, 10.0);
    check_run(parallel, "parallel", 12, 11.0);
    assert_eq!((idle["in_flight"].as_u64(), order["in_flight"].as_u64()), (Some(1), Some(8)));
    assert_eq!(processes(order), [("dev", "server"), ("client", "client")]);
    assert_eq!(report["limits"], Value::Array(Vec::new()));
}

#[test]
fn http_participants_are_a_separate_process_and_ratios_are_reported() {
    let args = "bench dev-http limit store --saga undo --count 40 --in-flight 4 --limit-for 100ms --ended 700 \
                --waiting 20 -o json";
    let report = measured(&args.split_whitespace().collect::<Vec<_>>());
    let [empty, preloaded] = &report["settings"].as_array().unwrap()[..] else { panic!("{report}") };
    for setting in [empty, preloaded] {
        let [undo] = &setting["runs"].as_array().unwrap()[..] else { panic!("{setting}") };
        check_run(undo, "undo", 20, 5.0);
        let expected = [("dev", "server"), ("participants", "participants"), ("client", "client")];
        assert_eq!(processes(undo), expected);
    }
    assert_eq!((empty["ended_before"].as_u64(), preloaded["ended_before"].as_u64()), (Some(0), Some(700)));
    assert_eq!(preloaded["waiting_before"].as_u64(), Some(20));
    let [limit] = &report["limits"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!(limit["database"], "sqlite");
    assert!(limit["rows"].as_array().unwrap().iter().all(|row| number(&row["transitions_per_second"]) > 0.0));
    assert!(report["stores"].as_array().unwrap().iter().all(|store| store["transitions"] == 640));
    let names: Vec<&str> =
        report["ratios"].as_array().unwrap().iter().map(|each| each["what"].as_str().unwrap()).collect();
    for what in [
        "state store alone, 64 at once",
        "dev-http: undo, 4 at once",
        "dev-http: undo, 4 at once, with 700 ended, 20 waiting",
    ] {
        assert!(names.contains(&what), "{names:?}");
    }
}

#[test]
fn secure_measurements_use_tls_and_access_control() {
    let args = "bench dev --secure --set telemetry.log_level=warn --saga order --idle 0 --count 20 --in-flight 4 -o json";
    let report = measured(&args.split_whitespace().collect::<Vec<_>>());
    let setting = &report["settings"][0];
    check_run(&setting["runs"][0], "order", 20, 3.0);
    assert_eq!(setting["secure"], true);
    assert_eq!(setting["set"], serde_json::json!(["telemetry.log_level=warn"]));
}

#[test]
fn constant_rate_reports_intervals() {
    let args = "bench dev --saga order --idle 0 --in-flight 16 --for 4s --rate 20 -o json";
    let report = measured(&args.split_whitespace().collect::<Vec<_>>());
    let run = &report["settings"][0]["runs"][0];
    check_run(run, "order", 80, 3.0);
    let intervals = run["steady"]["intervals"].as_array().unwrap();
    assert!((3..=4).contains(&intervals.len()), "{run}");
    assert!(intervals.iter().all(|each| each["sizes"][0]["name"] == "goconductor.db"), "{run}");
    assert!(intervals.iter().all(|each| number(&each["memory"][0]["pss_mib"]) > 1.0), "{run}");
}

/// Needs the servers that `scripts/test` starts.
#[test]
fn each_process_is_measured_separately() {
    let address = |name: &str| std::env::var(name).ok().filter(|address| !address.is_empty());
    let addresses = (address("GOCONDUCTOR_TEST_POSTGRES_URL"), address("GOCONDUCTOR_TEST_KAFKA_BROKERS"));
    let (Some(database), Some(brokers)) = addresses else {
        let required = std::env::var("GOCONDUCTOR_TEST_REQUIRE_SERVICES").is_ok_and(|value| value == "1");
        assert!(!required, "GOCONDUCTOR_TEST_POSTGRES_URL and GOCONDUCTOR_TEST_KAFKA_BROKERS are required");
        eprintln!("skipped: GOCONDUCTOR_TEST_POSTGRES_URL or GOCONDUCTOR_TEST_KAFKA_BROKERS is not set");
        return;
    };
    let args = "bench processes limit --secure --saga undo --count 40 --in-flight 8 --limit-for 50ms -o json";
    let environment = [("DATABASE_URL", database.as_str()), ("KAFKA_BROKERS", brokers.as_str())];
    let report = measured_with(&args.split_whitespace().collect::<Vec<_>>(), &environment);
    let [setting] = &report["settings"].as_array().unwrap()[..] else { panic!("{report}") };
    let [undo] = &setting["runs"].as_array().unwrap()[..] else { panic!("{setting}") };
    check_run(undo, "undo", 20, 5.0);
    let seen = processes(undo);
    for server in ["state-store", "leader-elector", "saga-executor", "api-gateway"] {
        assert!(seen.contains(&(server, "server")), "{seen:?}");
    }
    assert!(seen.contains(&("participants", "participants")), "{seen:?}");
    let [limit] = &report["limits"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!((limit["database"].as_str(), limit["rows"].as_array().unwrap().len()), (Some("postgres"), 13));
}

#[test]
fn invalid_options_are_usage_errors() {
    for (args, expected) in [
        ("bench nothing", "invalid value"),
        ("bench dev --saga life", "invalid value"),
        ("bench dev --in-flight 0", "1..=10000"),
        ("bench dev --count 0", "1.."),
        ("bench dev --set telemetry", "expected KEY=VALUE"),
        ("bench limit --secure", "--secure and --set apply to sagas"),
        ("bench dev --count 5 --for 1m", "cannot be used with"),
        ("bench dev --for 0s", "greater than zero"),
        ("bench dev --rate 0", "1..=1000000"),
        ("bench dev --watch-pid 12", "NAME=PID"),
        ("bench limit --ended 5", "add a measurement"),
        ("bench processes --database-url= --brokers=", "--database-url postgres://"),
    ] {
        let output = run(UNREACHABLE, args);
        assert_eq!(output.code, 2, "{args}: {}", output.stderr);
        assert!(output.stderr.contains(expected), "{args}: {}", output.stderr);
        assert_eq!(output.stdout, "", "{args}");
    }
}
