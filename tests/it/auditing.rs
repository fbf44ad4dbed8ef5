//! Who changed what in ECS is read in the time that pushes leave, and told once.

use ecs_deployd::status::ChangeStatus;

use crate::harness::pass;
use crate::scene::Scene;

const OPS: &str = "arn:aws:sns:eu-west-1:111111111111:ops";
const AUDIT: &str = "[audit]\nevents = [\"UpdateService\", \"StopTask\"]\ninterval = \"1m\"\n";

fn told(scene: &Scene) -> Vec<String> {
    let title = |text: &str| {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        value["title"].as_str().unwrap().to_owned()
    };
    scene.world.messages(OPS).iter().map(|message| title(&message.text)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_change_by_somebody_else_is_told_and_ours_is_known_as_ours() {
    let receiver = format!("[[notify]]\nname = \"ops\"\nsns = \"{OPS}\"\noutcomes = []\n");
    let mut scene = Scene::hello().with(AUDIT).with(&receiver).started().await;
    scene.push("v1");
    pass(200).await;
    scene.world.meddle("web", "hello", false);
    pass(200).await;
    let changes = scene.status().await.changes;
    let concerns: Vec<(&str, &str)> =
        changes.iter().map(|change: &ChangeStatus| (change.call.as_str(), change.concern.as_str())).collect();
    assert_eq!(concerns, [("UpdateService", "watched"), ("UpdateService", "ours")]);
    assert!(changes[0].target.starts_with("web/hello to hello:"), "{changes:#?}");
    assert_eq!(
        (changes[0].who.as_str(), changes[0].from.as_str()),
        ("arn:aws:iam::111111111111:user/bob", "192.0.2.7")
    );
    assert_eq!(scene.metric("ecs_deployd_audit_events_total{aws=\"default\",event=\"UpdateService\"}"), 2.0);
    assert_eq!(scene.metric("ecs_deployd_audit_events_total{aws=\"default\",event=\"StopTask\"}"), 0.0);
    let titles = told(&scene);
    assert_eq!(titles.len(), 1, "{titles:?}");
    assert!(
        titles[0].starts_with("UpdateService web/hello to hello:")
            && titles[0].ends_with("by arn:aws:iam::111111111111:user/bob")
    );
    scene.stop().await;

    // It was told: a restart reads it again and tells nobody.
    scene.start();
    pass(300).await;
    assert_eq!((scene.status().await.changes.len(), told(&scene).len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn changes_from_a_downtime_are_read_and_those_from_before_the_first_start_are_not() {
    let mut scene = Scene::hello().with(AUDIT);
    scene.world.meddle("web", "hello", false);
    pass(60).await;
    scene.start();
    pass(120).await;
    assert_eq!(scene.status().await.changes, []);
    scene.kill().await;
    scene.world.meddle("web", "hello", false);
    pass(6 * 3600).await;
    scene.start();
    pass(120).await;
    assert_eq!(scene.status().await.changes.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn pushes_come_first_and_the_budget_is_one() {
    let scene = Scene::hello().with(AUDIT).with("[poll]\ninterval = \"5s\"");
    scene.world.set_page_size(1);
    let scene = scene.started().await;
    // Two hundred changes are two hundred pages.
    for _ in 0..200 {
        scene.world.meddle("web", "hello", false);
        pass(1).await;
    }
    let digest = scene.push("v1");
    pass(20).await;
    assert_eq!(scene.runs(), Some(digest), "a push does not wait for the audit");
    pass(1200).await;
    let lookups: Vec<_> =
        scene.world.calls().iter().filter(|call| call.operation == "LookupEvents").map(|call| call.at).collect();
    assert!(lookups.windows(2).all(|pair| (pair[1] - pair[0]).as_millis() >= 999), "one request a second in all");
    assert_eq!(
        scene.metric("ecs_deployd_audit_events_total{aws=\"default\",event=\"UpdateService\"}"),
        201.0,
        "and all of it is read"
    );
}
