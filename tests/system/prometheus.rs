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
use crate::exposed::exposed;
use crate::gate::{Gate, Shut};
use crate::hook::Hook;
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
fn promtool_accepts_the_metrics_and_every_query_of_rules_and_dashboard_is_about_one_of_them() {
    let (home, text) = exposed();
    let file = home.path("metrics.txt");
    fs::write(&file, &text).unwrap();
    let (clean, complaints) = promtool(&["check", "metrics"], Some(&file));
    assert!(clean && complaints.trim().is_empty(), "promtool check metrics: {complaints}");
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
    // They are exposed only while something waits, once a task has run, and where a schedule is configured.
    const AT_TIMES: [&str; 3] =
        ["ecs_deployd_waiting", "ecs_deployd_tasks_total", "ecs_deployd_schedule_updates_total"];
    let may_be_absent = |metric: &str| AT_TIMES.contains(&metric) || there.contains(metric);
    let missing: Vec<&String> = wanted.iter().filter(|metric| !may_be_absent(metric)).collect();
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
            ("offset 15m", "offset 10s"),
            ("offset 45m", "offset 5s"),
            ("> 600", "> 5"),
            // Of everything that is measured in minutes or in tens, a little is enough.
            ("> 1200", "> 0.01"),
            ("> 10\n", "> 1\n"),
        ] {
            rules = rules.replace(slow, fast);
        }
        fs::write(path("alerts.yml"), rules).unwrap();
        let log = path("log");
        let output = File::create(&log).unwrap();
        let flag = |name: &str, value: PathBuf| format!("--{name}={}", value.display());
        let process = Command::new("prometheus")
            .arg(flag("config.file", path("prometheus.yml")))
            .arg(flag("storage.tsdb.path", path("data")))
            // A port of its own choice, which it says: one that was chosen for it can be taken by then.
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("prometheus: {error}; apt-get install prometheus"));
        let mut prometheus = Self { process, url: String::new(), _folder: folder };
        prometheus.url = wait_for("the address of prometheus", || {
            let text = fs::read_to_string(&log).unwrap();
            let line = text.lines().find(|line| line.contains("msg=\"Listening on\""))?;
            Some(format!("http://{}", line.split_once("address=")?.1.split_whitespace().next()?))
        });
        prometheus
    }

    /// The alerts that fire; nothing, if it does not answer in time.
    fn firing(&self) -> Option<BTreeSet<String>> {
        let value = self.ask("alerts")?;
        let alerts = value["data"]["alerts"].as_array().unwrap().iter();
        let firing = alerts
            .filter(|alert| alert["state"] == "firing")
            .map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned())
            .collect();
        Some(firing)
    }

    fn ask(&self, what: &str) -> Option<Value> {
        let answer = local_aws::http::get(&format!("{}/api/v1/{what}", self.url), Duration::from_secs(5));
        let (status, text) = answer.ok()?;
        (status == 200).then(|| serde_json::from_str(&text).unwrap())
    }

    fn wait_for_alert(&self, alert: &str, firing: bool) {
        wait_for(&format!("{alert}: firing {firing}"), || (self.firing()?.contains(alert) == firing).then_some(()));
    }

    /// Waits until an alert fires, or has fired by now: one about a single event clears by itself after some seconds.
    fn wait_until_it_has_fired(&self, alert: &str) {
        let query =
            format!("query?query=max_over_time(ALERTS%7Balertname=%22{alert}%22,alertstate=%22firing%22%7D%5B10m%5D)");
        wait_for(&format!("{alert}: has fired"), || {
            self.ask(&query)?["data"]["result"].as_array().filter(|found| !found.is_empty()).map(drop)
        });
    }

    fn wait_for_scrape(&self) {
        wait_for("a scrape", || {
            let answer = self.ask("query?query=ecs_deployd_build_info")?;
            answer["data"]["result"][0]["metric"]["version"].as_str().map(drop)
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
    let home = scene.home(&config);
    let daemon = home.start();
    daemon.wait_until_ready();
    let prometheus = Prometheus::start(&daemon.address());
    prometheus.wait_for_scrape();
    // Before the first scrape there is nothing, and that is what is wrong then.
    wait_for("that nothing fires", || prometheus.firing()?.is_empty().then_some(()));

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
    prometheus.wait_until_it_has_fired("EcsDeploydDeploymentFailed");
    prometheus.wait_until_it_has_fired("EcsDeploydNotificationsLost");
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
