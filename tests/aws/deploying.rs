//! A push rolls services.

use std::collections::BTreeMap;

use local_aws::Caller;

use crate::daemon::{SECRET_KEY, wait_for};
use crate::scene::{SECRET_VALUE, Scene, name};

/// Members of a described task definition that AWS sets.
const DESCRIBE_ONLY: [&str; 6] =
    ["taskDefinitionArn", "revision", "registeredAt", "registeredBy", "status", "compatibilities"];

#[test]
fn a_push_rolls_the_service_and_changes_nothing_but_one_image() {
    let scene = Scene::new(1);
    let before = scene.definition(&name(0));
    let home = scene.home(&scene.config(1));
    let daemon = home.start();
    daemon.wait_until_ready();
    let digest = scene.push("v1");
    scene.wait_for_image(&name(0), &digest);
    daemon
        .wait_for_metric(r#"ecs_deployd_deployments_total{cluster="web",outcome="completed",service="hello-0"}"#, 1.0);
    assert_eq!(daemon.metric(r#"ecs_deployd_pushes_total{outcome="deployed",repository="hello"}"#), Some(1.0));

    let mut expected = before;
    let mut after = scene.definition(&name(0));
    expected["taskDefinition"]["containerDefinitions"][0]["image"] = format!("{}@{digest}", scene.uri).into();
    for definition in [&mut expected, &mut after] {
        for member in DESCRIBE_ONLY {
            definition["taskDefinition"].as_object_mut().unwrap().remove(member);
        }
    }
    assert_eq!(after, expected);
    assert!(daemon.stop().success());
}

#[test]
fn one_push_to_many_services_costs_what_it_must() {
    const SERVICES: usize = 12;
    let scene = Scene::new(SERVICES);
    let home = scene.home(&scene.config(SERVICES));
    let daemon = home.start();
    daemon.wait_until_ready();
    let before = scene.client.recorded_calls(Caller::Others).unwrap();
    let digest = scene.push("v1");
    for number in 0..SERVICES {
        let series =
            format!(r#"ecs_deployd_deployments_total{{cluster="web",outcome="completed",service="{}"}}"#, name(number));
        daemon.wait_for_metric(&series, 1.0);
        scene.wait_for_image(&name(number), &digest);
    }
    let after = scene.client.recorded_calls(Caller::Others).unwrap();
    let mut made: BTreeMap<String, u64> = after
        .into_iter()
        .map(|(operation, count)| (operation.clone(), count - before.get(&operation).copied().unwrap_or(0)))
        .filter(|(_, count)| *count > 0)
        .collect();
    // Two to look, then two in each interval until all are complete.
    let looks = made.remove("DescribeServices").unwrap();
    assert!(looks >= 4 && looks.is_multiple_of(2), "{looks}");
    let expected = [
        ("DescribeImages", 1),
        ("DescribeTaskDefinition", 1),
        ("RegisterTaskDefinition", 1),
        ("UpdateService", SERVICES as u64),
        ("ListTasks", SERVICES as u64),
        ("DescribeTasks", SERVICES as u64),
    ];
    assert_eq!(made, expected.into_iter().map(|(operation, count)| (operation.to_owned(), count)).collect());
}

#[test]
fn an_idle_daemon_asks_cloudtrail_and_nothing_else_once_it_has_seen_the_tags_at_its_start() {
    let scene = Scene::new(1);
    let home = scene.home(&scene.config(1));
    let daemon = home.start();
    daemon.wait_until_ready();
    wait_for("some polls", || {
        daemon.metric(r#"ecs_deployd_lookup_requests_total{aws="default"}"#).filter(|polls| *polls >= 4.0)
    });
    // The emulator does not record LookupEvents itself.
    let at_start = BTreeMap::from([("DescribeImages".to_owned(), 1)]);
    assert_eq!(scene.client.recorded_calls(Caller::Others).unwrap(), at_start);
    let (_, text) = daemon.get("/metrics");
    let requests: Vec<&str> = text.lines().filter(|line| line.starts_with("ecs_deployd_aws_requests_total")).collect();
    assert_eq!(requests.len(), 2, "{requests:?}");
}

#[test]
fn no_secret_is_ever_logged() {
    let scene = Scene::new(1);
    let home = scene.home(&scene.config(1));
    let daemon = home.start_with(&["run", "--log-level", "trace", "--log-format", "json"], |command| command);
    // The address stands in a JSON line.
    let address = wait_for("the address", || {
        let log = daemon.log();
        let line = log.lines().find(|line| line.contains("\"message\":\"started\""))?.to_owned();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        Some(line["http"].as_str()?.to_owned())
    });
    wait_for("readiness", || {
        let answer = local_aws::http::get(&format!("http://{address}/readyz"), crate::daemon::PATIENCE).ok()?;
        (answer.0 == 200).then_some(())
    });
    let digest = scene.push("v1");
    scene.wait_for_image(&name(0), &digest);
    daemon.wait_for_log("\"outcome\":\"completed\"");
    let log = daemon.log();
    for secret in [SECRET_KEY, SECRET_VALUE] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
    }
}

#[test]
fn a_daemon_that_is_killed_takes_up_its_rollout() {
    let scene = Scene::new(1);
    // The first look at the rollout comes late: it is under way when the daemon dies.
    let home = scene.home(&scene.config(1).replace("observe_interval = \"1s\"", "observe_interval = \"30s\""));
    let daemon = home.start();
    daemon.wait_until_ready();
    let digest = scene.push("v1");
    daemon.wait_for_log("updated the service");
    drop(daemon);
    home.configure(&scene.config(1));
    let daemon = home.start();
    daemon
        .wait_for_metric(r#"ecs_deployd_deployments_total{cluster="web",outcome="completed",service="hello-0"}"#, 1.0);
    scene.wait_for_image(&name(0), &digest);
    let calls = scene.client.recorded_calls(Caller::Others).unwrap();
    assert_eq!((calls["UpdateService"], calls["RegisterTaskDefinition"]), (1, 1), "{calls:?}");
}
