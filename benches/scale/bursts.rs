//! Many pushes at once: which calls they cost, and how long it is until the last service is updated.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::aws::{Aws, Call, REGION, counted};
use crate::daemon::Daemon;
use crate::limits;

/// A round trip to AWS.
pub const ROUND_TRIP: Duration = Duration::from_millis(50);
/// How long ECS takes for a rollout.
const ROLLS: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(900);

/// One push to each family at once.
#[derive(Debug, Clone, Copy)]
pub struct Burst {
    pub name: &'static str,
    pub families: usize,
    pub services: usize,
    pub clusters: usize,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    pub burst: Burst,
    /// From the answer that reported the pushes to the last UpdateService, in seconds.
    pub last_update: f64,
    /// The shortest time that ECS's rate limits allow, in seconds.
    pub shortest: f64,
    /// Calls and how many of them were throttled, by operation.
    pub counts: BTreeMap<&'static str, (usize, usize)>,
    /// The calls, by the time since that answer.
    pub calls: Vec<Call>,
    pub processor_time: f64,
    pub resident: f64,
}

pub fn common(aws: &Aws) -> String {
    format!(
        "[aws.default]\nregion = \"{REGION}\"\nendpoint_url = \"{}\"\nmax_lookups_per_second = 2\n[poll]\ninterval = \"2s\"\n",
        aws.endpoint()
    )
}

fn family(number: usize) -> String {
    format!("team/app-{number}")
}

impl Burst {
    /// Cluster, service and family of each service.
    fn services(self) -> impl Iterator<Item = (String, String, String)> {
        (0..self.families * self.services).map(move |number| {
            let cluster = format!("cluster-{}", number % self.clusters);
            (cluster, format!("service-{number}"), family(number / self.services).replace('/', "-"))
        })
    }

    pub fn measure(self) -> Outcome {
        let aws = Aws::start(ROUND_TRIP, ROLLS);
        let mut config = common(&aws);
        for number in 0..self.families {
            aws.create_family(&family(number).replace('/', "-"));
        }
        let mut before = String::new();
        for (cluster, service, family) in self.services() {
            aws.create_service(&cluster, &service, &family);
            if family != before {
                let _ = write!(config, "[[repository]]\nname = \"{family}\"\ntags = [\"latest\"]\n");
                before.clone_from(&family);
            }
            let _ = write!(config, "[[repository.service]]\ncluster = \"{cluster}\"\nservice = \"{service}\"\n");
        }
        let mut daemon = Daemon::start(&config, None);
        daemon.wait_for("/readyz");
        std::thread::sleep(Duration::from_secs(1));
        let used = daemon.processor_time();
        aws.forget_calls();
        let names: Vec<String> = (0..self.families).map(|number| family(number).replace('/', "-")).collect();
        aws.push(names.iter().map(String::as_str));
        let all: Vec<_> = self.services().collect();
        let all_run = || {
            aws.all_run(
                all.iter().map(|(cluster, service, family)| (cluster.as_str(), service.as_str(), family.as_str())),
            )
        };
        wait("all services run what was pushed", all_run);
        wait("the daemon has seen that", || {
            let text = daemon.get("/metrics").map(|(text, _)| text).unwrap_or_default();
            completed(&text) >= (self.families * self.services) as f64
        });
        let told = aws.told().unwrap();
        let since = |call: &Call| call.at.saturating_sub(told);
        let calls: Vec<Call> =
            aws.calls().into_iter().filter(|call| call.at >= told && call.operation != "LookupEvents").collect();
        let calls: Vec<Call> = calls.iter().map(|call| Call { at: since(call), ..*call }).collect();
        let updates = calls.iter().filter(|call| call.operation == "UpdateService");
        let last = updates.map(|call| call.at).max().unwrap().saturating_sub(ROUND_TRIP);
        Outcome {
            burst: self,
            last_update: last.as_secs_f64(),
            shortest: limits::shortest(self.families, self.families * self.services),
            counts: counted(&calls),
            calls,
            processor_time: daemon.processor_time() - used,
            resident: daemon.most_resident(),
        }
    }
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Deployments that are complete.
pub fn completed(metrics: &str) -> f64 {
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("ecs_deployd_deployments_total{") && line.contains("\"completed\""));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

impl Outcome {
    pub fn print(&self) {
        let Self { burst, last_update, shortest, counts, processor_time, resident, .. } = self;
        let services = burst.families * burst.services;
        println!("\n{}: {} pushes to {services} services in {} clusters", burst.name, burst.families, burst.clusters);
        println!("  last UpdateService      {last_update:8.1} s   (ECS's rate limits allow {shortest:.1} s)");
        println!("  processor time          {processor_time:8.2} s");
        println!("  most resident memory    {resident:8.1} MiB");
        for (operation, (all, throttled)) in counts {
            let throttled = if *throttled > 0 { format!("   {throttled} throttled") } else { String::new() };
            println!("  {operation:<23} {all:6}{throttled}");
        }
    }

    pub fn json(&self) -> Value {
        let counts: BTreeMap<_, _> = self
            .counts
            .iter()
            .map(|(operation, (all, throttled))| (operation, json!({"calls": all, "throttled": throttled})))
            .collect();
        json!({
            "name": self.burst.name, "families": self.burst.families, "services": self.burst.families * self.burst.services,
            "clusters": self.burst.clusters, "last_update_seconds": self.last_update, "rate_limits_allow_seconds": self.shortest,
            "calls": counts, "processor_seconds": self.processor_time, "most_resident_mib": self.resident,
        })
    }
}
