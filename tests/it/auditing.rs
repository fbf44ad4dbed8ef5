//! Who changed what in ECS is read in the time that pushes leave, and told once.

use ecs_deployd::status::ChangeStatus;

use crate::harness::{config, hello_world, pass, start};
use crate::world::World;

const OPS: &str = "arn:aws:sns:eu-west-1:111111111111:ops";

fn audited(rest: &str) -> String {
    format!("[audit]\nevents = [\"UpdateService\", \"StopTask\"]\ninterval = \"1m\"\n{}{rest}", config(""))
}

fn told(world: &World) -> Vec<String> {
    let title = |text: &str| {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        value["title"].as_str().unwrap().to_owned()
    };
    world.messages(OPS).iter().map(|message| title(&message.text)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_change_by_somebody_else_is_told_and_ours_is_known_as_ours() {
    let (world, disk, _) = hello_world();
    let receiver = format!("[[notify]]\nname = \"ops\"\nsns = \"{OPS}\"\noutcomes = []\n");
    let process = start(&world, &disk, &audited(&receiver));
    pass(2).await;
    world.push("hello", "latest", "v1");
    pass(200).await;
    world.meddle("web", "hello", false);
    pass(200).await;
    let changes = process.status().await.changes;
    let concerns: Vec<(&str, &str)> =
        changes.iter().map(|change: &ChangeStatus| (change.call.as_str(), change.concern.as_str())).collect();
    assert_eq!(concerns, [("UpdateService", "watched"), ("UpdateService", "ours")]);
    assert!(changes[0].target.starts_with("web/hello to hello:"), "{changes:#?}");
    assert_eq!(
        (changes[0].who.as_str(), changes[0].from.as_str()),
        ("arn:aws:iam::111111111111:user/bob", "192.0.2.7")
    );
    assert_eq!(process.metric("ecs_deployd_audit_events_total{aws=\"default\",event=\"UpdateService\"}"), 2.0);
    assert_eq!(process.metric("ecs_deployd_audit_events_total{aws=\"default\",event=\"StopTask\"}"), 0.0);
    let titles = told(&world);
    assert_eq!(titles.len(), 1, "{titles:?}");
    assert!(
        titles[0].starts_with("UpdateService web/hello to hello:")
            && titles[0].ends_with("by arn:aws:iam::111111111111:user/bob")
    );
    process.stop().await;

    // It was told: a restart reads it again and tells nobody.
    let process = start(&world, &disk, &audited(&receiver));
    pass(300).await;
    assert_eq!((process.status().await.changes.len(), told(&world).len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn changes_from_a_downtime_are_read_and_those_from_before_the_first_start_are_not() {
    let (world, disk, _) = hello_world();
    world.meddle("web", "hello", false);
    pass(60).await;
    let process = start(&world, &disk, &audited(""));
    pass(120).await;
    assert_eq!(process.status().await.changes, []);
    process.kill().await;
    world.meddle("web", "hello", false);
    pass(6 * 3600).await;
    let process = start(&world, &disk, &audited(""));
    pass(120).await;
    assert_eq!(process.status().await.changes.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn pushes_come_first_and_the_budget_is_one() {
    let (world, disk, _) = hello_world();
    world.set_page_size(1);
    let config = format!("[poll]\ninterval = \"5s\"\n{}", audited(""));
    let process = start(&world, &disk, &config);
    pass(2).await;
    // Two hundred changes are two hundred pages.
    for _ in 0..200 {
        world.meddle("web", "hello", false);
        pass(1).await;
    }
    let digest = world.push("hello", "latest", "v1");
    pass(20).await;
    assert_eq!(world.settled_image("web", "hello", "app"), Some(digest), "a push does not wait for the audit");
    pass(1200).await;
    let lookups: Vec<_> =
        world.calls().iter().filter(|call| call.operation == "LookupEvents").map(|call| call.at).collect();
    assert!(lookups.windows(2).all(|pair| (pair[1] - pair[0]).as_millis() >= 999), "one request a second in all");
    assert_eq!(
        process.metric("ecs_deployd_audit_events_total{aws=\"default\",event=\"UpdateService\"}"),
        201.0,
        "and all of it is read"
    );
}
