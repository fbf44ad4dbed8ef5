//! A bad hour of AWS: nearly every third call fails, in every way that calls fail.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use local_aws::{Caller, Microburst};

use crate::daemon::{Daemon, wait_for, wait_within};
use crate::scene::{Scene, name};

const SERVICES: usize = 8;
const PUSHES: usize = 25;
/// Throttles, server errors, resets, calls that are never answered in time, answers that are cut off.
const RULES: &str = r#"
rules:
- {service: "*", probability: 0.09, error: {code: ThrottlingException, status: 400, message: "Rate exceeded"}}
- {service: "*", probability: 0.09, error: {code: InternalFailure, status: 500}}
- {service: "*", probability: 0.08, reset: true}
- {service: "*", probability: 0.01, timeout_ms: 20000}
- {service: "*", probability: 0.08, response: {truncate_frac: 0.5}}
- {service: "*", probability: 0.03, response: {abort_frac: 0.3}}
"#;

#[test]
#[expect(clippy::disallowed_methods, reason = "how long it takes is measured in real time")]
fn everything_converges_while_nearly_every_third_call_fails() {
    let scene = Scene::new(SERVICES);
    let burst = Microburst::before(&scene.aws.endpoint(), RULES).unwrap();
    let home = scene.home(&scene.config(SERVICES).replace(&scene.aws.endpoint(), &burst.endpoint()));
    let daemon = home.start();
    daemon.wait_until_ready();
    let mut newest = String::new();
    for push in 0..PUSHES {
        newest = scene.push(&format!("v{push}"));
        // The daemon has to be at work: the next push comes when it has made some more calls.
        let made = calls(&daemon).values().sum::<f64>();
        wait_for("some calls", || (calls(&daemon).values().sum::<f64>() >= made + 8.0).then_some(()));
    }
    let pushed = Instant::now();
    for number in 0..SERVICES {
        wait_within(Duration::from_secs(180), &format!("{} runs {newest}", name(number)), || {
            scene.image(&name(number)).ends_with(&newest).then_some(())
        });
    }
    let converged = pushed.elapsed();
    let made = calls(&daemon);
    let all: f64 = made.values().sum();
    let failed = all - made["ok"];
    let recorded = scene.client.recorded_calls(Caller::Others).unwrap();
    eprintln!(
        "{all} calls, {failed} failed ({:.0} %): {made:?}; all converged {:.1} s after the last of {PUSHES} pushes; {} registrations, {} updates",
        failed / all * 100.0,
        converged.as_secs_f64(),
        recorded["RegisterTaskDefinition"],
        recorded["UpdateService"],
    );
    assert!(failed / all > 0.25, "the faults did not happen: {made:?}");
    assert!(made["throttled"] > 0.0 && made["unavailable"] > made["throttled"], "in every way: {made:?}");
    // A service is updated at most once for a push; an answer that was lost makes it no second time.
    assert!(recorded["UpdateService"] <= (SERVICES * PUSHES) as u64, "{recorded:?}");
    assert!(daemon.stop().success());
}

/// The daemon's calls by their outcome.
fn calls(daemon: &Daemon) -> BTreeMap<String, f64> {
    let mut calls = BTreeMap::new();
    for line in daemon.get("/metrics").1.lines().filter(|line| line.starts_with("ecs_deployd_aws_requests_total{")) {
        let outcome = line.split("outcome=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        *calls.entry(outcome.to_owned()).or_default() += line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
    }
    calls
}
