//! Changes to ECS as the emulator's CloudTrail tells of them.

use local_aws::ECS;
use serde_json::json;

use crate::daemon::wait_for;
use crate::scene::Scene;

#[test]
fn who_changed_a_service_is_in_the_log_the_metrics_and_on_the_page() {
    let scene = Scene::new(1);
    let audit = "[audit]\ninterval = \"1s\"\n";
    let home = scene.home(&format!("{audit}{}", scene.config(1)));
    let daemon = home.start();
    daemon.wait_until_ready();
    scene.push("v1");
    daemon.wait_for_log("outcome=\"completed\"");
    let first =
        scene.client.describe_task_definition("hello:1").unwrap()["taskDefinition"]["taskDefinitionArn"].clone();
    let update = json!({"cluster": "web", "service": "hello-0", "taskDefinition": first});
    scene.client.call(ECS, "UpdateService", &update).unwrap();
    daemon.wait_for_log("somebody else than ecs-deployd changed a service of the configuration");
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("somebody else than")).unwrap();
    assert!(line.contains("WARN") && line.contains("call=UpdateService"), "{line}");
    assert!(line.contains("web/hello-0 to hello:1") && line.contains("127.0.0.1"), "{line}");
    wait_for("our own update in the log", || {
        daemon.log().lines().any(|line| line.contains("ECS was changed") && line.contains("ours=true")).then_some(())
    });
    daemon.wait_for_metric(r#"ecs_deployd_audit_events_total{aws="default",event="UpdateService"}"#, 2.0);
    assert_eq!(daemon.metric(r#"ecs_deployd_audit_events_total{aws="default",event="DeleteCluster"}"#), Some(0.0));
    let (_, page) = daemon.get("/?refresh=off");
    assert!(page.contains("Changes to ECS") && page.contains("by somebody else than ecs-deployd"), "{page}");
    // A restart does not tell it again.
    daemon.stop();
    let daemon = home.start();
    daemon.wait_until_ready();
    daemon.wait_for_metric(r#"ecs_deployd_audit_events_total{aws="default",event="UpdateService"}"#, 0.0);
    wait_for("a round of the audit", || {
        daemon.metric(r#"ecs_deployd_lookup_requests_total{aws="default"}"#).filter(|requests| *requests > 20.0)
    });
    assert!(!daemon.log().contains("somebody else than"), "told once");
}
