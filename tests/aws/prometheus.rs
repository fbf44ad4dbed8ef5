//! The metrics in Prometheus's own tools: `promtool`, and a Prometheus that scrapes the real binary.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::{Home, wait_for};
use crate::gate::{Gate, Shut};
use crate::notifying::Hook;
use crate::scene::{Scene, name};

const RULES: &str = "config/prometheus/alerts.yml";
const DASHBOARD: &str = "config/grafana/ecs-deployd.json";

/// Runs promtool. Debian's package is `prometheus`.
fn promtool(arguments: &[&str], input: Option<&Path>) -> (bool, String) {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(input.map_or_else(Stdio::null, |path| Stdio::from(File::open(path).unwrap())));
    let output = command.output().unwrap_or_else(|error| panic!("promtool: {error}; apt-get install prometheus"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn promtool_likes_the_configuration_and_the_rules_fire_and_clear() {
    for arguments in [
        ["check", "config", "config/prometheus/prometheus.yml"].as_slice(),
        &["check", "rules", RULES],
        &["test", "rules", "config/prometheus/alerts.test.yml"],
    ] {
        let (good, text) = promtool(arguments, None);
        assert!(good, "promtool {}: {text}", arguments.join(" "));
    }
}

#[test]
fn each_alert_is_tested_and_has_a_section_in_the_runbook() {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let (rules, tests, runbook) = (read(RULES), read("config/prometheus/alerts.test.yml"), read("docs/runbook.md"));
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 8, "{alerts:?}");
    for alert in alerts {
        assert!(runbook.lines().any(|line| line == format!("### {alert}")), "no section for {alert} in the runbook");
        assert!(rules.contains(&format!("runbook: docs/runbook.md#{}\n", alert.to_lowercase())), "{alert}");
        let cases = tests.matches(&format!("alertname: {alert}\n")).count();
        assert!(cases >= 2, "{alert} is not tested to fire and to clear");
    }
}

/// A row of the reference's table: a metric, its type and its labels.
fn documented() -> Vec<(String, String, BTreeSet<String>)> {
    let reference = fs::read_to_string("docs/reference/metrics.md").unwrap();
    let rows = reference.lines().filter(|line| line.starts_with("| `ecs_deployd_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let labels = cells[2].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        (cells[0].trim_matches('`').to_owned(), cells[1].to_owned(), labels)
    })
    .collect()
}

/// What the program exposes after a deployment, with all that can be configured; promtool has nothing to say of it.
fn exposed() -> (Home, String) {
    let scene = Scene::new(1);
    let receiver = "[[notify]]\nname = \"nobody\"\nwebhook = \"http://127.0.0.1:1\"\n";
    let home = Home::new(&(scene.config(1) + receiver + "[audit]\n"));
    let daemon = home.start();
    daemon.wait_until_ready();
    scene.push("v1");
    daemon.wait_for_log("outcome=\"completed\"");
    let (_, text) = daemon.get("/metrics");
    let exposed = home.path("metrics.txt");
    fs::write(&exposed, &text).unwrap();
    let (clean, complaints) = promtool(&["check", "metrics"], Some(&exposed));
    assert!(clean && complaints.trim().is_empty(), "promtool check metrics: {complaints}");
    drop(daemon);
    (home, text)
}

#[test]
fn the_metrics_are_those_of_the_table_by_name_type_and_labels() {
    let (_home, text) = exposed();

    let table = documented();
    let listed: BTreeSet<&str> = table.iter().map(|(name, _, _)| name.as_str()).collect();
    let typed: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ecs_deployd_").map(|_| line.split(' ').nth(2).unwrap()))
        .collect();
    assert_eq!(listed, typed, "the reference and what is exposed");
    for (name, kind, labels) in &table {
        assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name} is no {kind}");
        assert!(text.lines().any(|line| line.starts_with(&format!("# HELP {name} "))), "{name} has no help");
        let samples = text.lines().filter(|line| {
            let of = line.split(['{', ' ']).next().unwrap();
            of == name || ["_bucket", "_sum", "_count"].iter().any(|end| of == format!("{name}{end}"))
        });
        let mut seen = 0;
        for sample in samples {
            seen += 1;
            let inside =
                sample.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(inside, _)| inside);
            let own: BTreeSet<String> = inside
                .split("\",")
                .filter_map(|pair| pair.split_once('=').map(|(label, _)| label.to_owned()))
                .filter(|label| label != "le")
                .collect();
            assert_eq!(&own, labels, "{sample}");
        }
        assert!(seen > 0, "{name} has no sample");
    }
}

/// The names of metrics in a query, as far as they are this program's.
fn metrics_of(query: &str) -> BTreeSet<String> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("ecs_deployd_") || word.starts_with("process_")).map(str::to_owned).collect()
}

/// The queries of a dashboard, its variables included.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, below) in members {
                match below.as_str() {
                    Some(text) if key == "expr" || key == "definition" => found.push(text.to_owned()),
                    _ => queries(below, found),
                }
            }
        }
        Value::Array(all) => all.iter().for_each(|one| queries(one, found)),
        _ => {}
    }
}

#[test]
fn every_query_of_rules_and_dashboard_is_about_metrics_that_there_are() {
    let (home, text) = exposed();
    let there: BTreeSet<&str> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next()).collect();

    let dashboard: Value = serde_json::from_str(&fs::read_to_string(DASHBOARD).unwrap()).unwrap();
    let mut asked = Vec::new();
    queries(&dashboard, &mut asked);
    assert!(asked.len() >= 20, "{}", asked.len());
    let mut rules = String::from("groups:\n  - name: dashboard\n    rules:\n");
    for (number, query) in asked.iter().filter(|query| !query.starts_with("label_values")).enumerate() {
        let query = query.replace("$__rate_interval", "5m");
        rules += &format!("      - record: query:{number}\n        expr: {}\n", serde_json::to_string(&query).unwrap());
    }
    let file = home.path("dashboard.yml");
    fs::write(&file, rules).unwrap();
    let (good, complaints) = promtool(&["check", "rules", file.to_str().unwrap()], None);
    assert!(good, "{complaints}");
    asked.push(fs::read_to_string(RULES).unwrap());
    let wanted: BTreeSet<String> = asked.iter().flat_map(|query| metrics_of(query)).collect();
    let missing: Vec<&String> = wanted.iter().filter(|metric| !there.contains(metric.as_str())).collect();
    assert!(missing.is_empty(), "no such metrics: {missing:?}");
}

/// A Prometheus. It is killed when this is dropped.
struct Prometheus {
    process: Child,
    url: String,
    _folder: TempDir,
}

impl Prometheus {
    /// With the project's own configuration and rules, which look every second and wait for nothing.
    fn start(target: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        let hasty = fs::read_to_string("config/prometheus/prometheus.yml")
            .unwrap()
            .replace("30s", "1s")
            .replace("127.0.0.1:9797", target);
        fs::write(path("prometheus.yml"), hasty).unwrap();
        let mut rules: String = fs::read_to_string(RULES)
            .unwrap()
            .lines()
            .filter(|line| !line.trim().starts_with("for: "))
            .map(|line| line.to_owned() + "\n")
            .collect();
        for (slow, fast) in [
            ("[15m]", "[10s]"),
            ("[10m]", "[10s]"),
            ("[5m]", "[10s]"),
            ("[45m]", "[5s]"),
            ("[3h]", "[10s]"),
            ("> 600", "> 5"),
            // Of everything that is measured in minutes or in tens, a little is enough.
            ("> 1200", "> 1"),
            ("> 10\n", "> 1\n"),
        ] {
            rules = rules.replace(slow, fast);
        }
        fs::write(path("alerts.yml"), rules).unwrap();
        let port = local_aws::free_port().unwrap();
        let log = File::create(path("log")).unwrap();
        let flag = |name: &str, value: PathBuf| format!("--{name}={}", value.display());
        let process = Command::new("prometheus")
            .arg(flag("config.file", path("prometheus.yml")))
            .arg(flag("storage.tsdb.path", path("data")))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("prometheus: {error}; apt-get install prometheus"));
        Self { process, url: format!("http://127.0.0.1:{port}"), _folder: folder }
    }

    fn firing(&self) -> BTreeSet<String> {
        let answer = local_aws::http::get(&format!("{}/api/v1/alerts", self.url), Duration::from_secs(5));
        let Ok((200, text)) = answer else { return BTreeSet::new() };
        let value: Value = serde_json::from_str(&text).unwrap();
        let alerts = value["data"]["alerts"].as_array().unwrap().iter();
        alerts
            .filter(|alert| alert["state"] == "firing")
            .map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned())
            .collect()
    }

    fn wait_for_alert(&self, alert: &str, firing: bool) {
        wait_for(&format!("{alert}: firing {firing}"), || (self.firing().contains(alert) == firing).then_some(()));
    }

    fn wait_for_scrape(&self) {
        wait_for("a scrape", || {
            let url = format!("{}/api/v1/query?query=ecs_deployd_build_info", self.url);
            let (status, text) = local_aws::http::get(&url, Duration::from_secs(5)).ok()?;
            (status == 200 && text.contains("\"version\"")).then_some(())
        });
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_real_prometheus_scrapes_the_daemon_and_alerts_fire_and_clear() {
    let scene = Scene::new(1);
    let (gate, door) = Gate::before(&scene.aws.endpoint());
    let hook = Hook::start();
    let receiver = format!("[[notify]]\nname = \"hook\"\nwebhook = \"http://{}/\"\n", hook.address);
    let config = scene.config(1).replace(&scene.aws.endpoint(), &door) + &receiver;
    let home = Home::new(&config);
    let daemon = home.start();
    daemon.wait_until_ready();
    let prometheus = Prometheus::start(&daemon.address());
    prometheus.wait_for_scrape();
    // Before the first scrape there is nothing, and that is what is wrong then.
    wait_for("that nothing fires", || prometheus.firing().is_empty().then_some(()));

    home.configure("rubbish");
    daemon.signal(Signal::HUP);
    prometheus.wait_for_alert("EcsDeploydReloadFailed", true);
    home.configure(&config);
    daemon.signal(Signal::HUP);
    prometheus.wait_for_alert("EcsDeploydReloadFailed", false);

    let service = format!("web/{}", name(0));
    assert_eq!(home.run(&["hold", &service]).0, 0);
    prometheus.wait_for_alert("EcsDeploydDigestHeld", true);
    assert_eq!(home.run(&["release", &service]).0, 0);
    prometheus.wait_for_alert("EcsDeploydDigestHeld", false);

    gate.shut(Shut::Refused("LookupEvents", "AccessDeniedException"));
    prometheus.wait_for_alert("EcsDeploydNoSuccessfulPoll", true);
    prometheus.wait_for_alert("EcsDeploydAccessDenied", true);
    gate.open();
    prometheus.wait_for_alert("EcsDeploydNoSuccessfulPoll", false);
    prometheus.wait_for_alert("EcsDeploydAccessDenied", false);

    hook.refuse(1, axum::http::StatusCode::GONE);
    gate.shut(Shut::Refused("UpdateService", "InvalidParameterException"));
    scene.push("v1");
    prometheus.wait_for_alert("EcsDeploydDeploymentFailed", true);
    prometheus.wait_for_alert("EcsDeploydNotificationsLost", true);
    gate.open();
    prometheus.wait_for_alert("EcsDeploydDeploymentFailed", false);
    prometheus.wait_for_alert("EcsDeploydNotificationsLost", false);

    // A push is seen; ECR cannot be asked about it; then ECS refuses for a while to roll it.
    gate.shut(Shut::Refused("DescribeImages", "ThrottlingException"));
    let digest = scene.push("v2");
    prometheus.wait_for_alert("EcsDeploydDeliveryLag", true);
    prometheus.wait_for_alert("EcsDeploydPushWaits", true);
    prometheus.wait_for_alert("EcsDeploydThrottled", true);
    gate.shut(Shut::Refused("UpdateService", "ThrottlingException"));
    prometheus.wait_for_alert("EcsDeploydRolloutStuck", true);
    for alert in ["EcsDeploydDeliveryLag", "EcsDeploydPushWaits"] {
        prometheus.wait_for_alert(alert, false);
    }
    gate.open();
    scene.wait_for_image(&name(0), &digest);
    for alert in ["EcsDeploydRolloutStuck", "EcsDeploydThrottled"] {
        prometheus.wait_for_alert(alert, false);
    }

    // Something is in the way of the state.
    let in_the_way = home.path("state.json.new");
    fs::create_dir(&in_the_way).unwrap();
    scene.push("v3");
    prometheus.wait_for_alert("EcsDeploydStateNotWritable", true);
    fs::remove_dir(&in_the_way).unwrap();
    prometheus.wait_for_alert("EcsDeploydStateNotWritable", false);

    let address = daemon.address();
    drop(daemon);
    prometheus.wait_for_alert("EcsDeploydDown", true);
    home.configure_at(&config, &address);
    let _daemon = home.start();
    prometheus.wait_for_alert("EcsDeploydDown", false);
}
