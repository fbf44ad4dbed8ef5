//! Who is told of what, and what a receiver that is dead does not do.

use ecs_deployd::aws::Fault;
use serde_json::Value;

use crate::harness::{config, hello_world, pass, start};
use crate::world::{Health, World};

const OPS: &str = "arn:aws:sns:eu-west-1:111111111111:ops";
const DEAD: &str = "arn:aws:sns:eu-west-1:111111111111:dead";

fn told(world: &World, topic: &str) -> Vec<String> {
    let result = |text: &str| {
        let value: Value = serde_json::from_str(text).unwrap();
        value["deployment"]["result"].as_str().unwrap().to_owned()
    };
    world.messages(topic).iter().map(|message| result(&message.text)).collect()
}

fn with_receivers() -> String {
    let table =
        |name: &str, arn: &str, rest: &str| format!("\n[[notify]]\nname = \"{name}\"\nsns = \"{arn}\"\n{rest}\n");
    config("")
        + &table("ops", OPS, "outcomes = [\"failed\", \"timed_out\", \"rolled_back\"]")
        + &table("dead", DEAD, "")
}

#[tokio::test(start_paused = true)]
async fn a_dead_receiver_delays_nothing_and_is_told_when_it_lives_again() {
    let (world, disk, _) = hello_world();
    world.break_topic(DEAD, Some(Fault::Unavailable));
    let process = start(&world, &disk, &with_receivers());
    pass(2).await;
    let good = world.push("hello", "latest", "good");
    pass(120).await;
    let bad = world.push("hello", "latest", "bad");
    world.set_health(&bad, Health::Stops);
    pass(180).await;
    assert_eq!(world.settled_image("web", "hello", "app"), Some(good), "the daemon goes on");
    assert_eq!(told(&world, OPS), ["failed", "rolled_back"], "chosen by outcome, told at once");
    assert_eq!(told(&world, DEAD), Vec::<String>::new());
    assert_eq!(process.metric("ecs_deployd_notifications_total{outcome=\"sent\",receiver=\"ops\"}"), 2.0);
    world.break_topic(DEAD, None);
    pass(70).await;
    assert_eq!(told(&world, DEAD), ["completed", "failed", "rolled_back"], "all of it, in order");
}

#[tokio::test(start_paused = true)]
async fn what_is_never_taken_is_given_up_and_counted() {
    let (world, disk, _) = hello_world();
    world.break_topic(DEAD, Some(Fault::Unavailable));
    world.break_topic(OPS, Some(Fault::NotFound));
    let process = start(&world, &disk, &with_receivers());
    pass(2).await;
    let bad = world.push("hello", "latest", "bad");
    world.set_health(&bad, Health::Stops);
    pass(600).await;
    let failed = |name: &str| {
        process.metric(&format!("ecs_deployd_notifications_total{{outcome=\"failed\",receiver=\"{name}\"}}"))
    };
    assert_eq!(
        (failed("ops"), failed("dead")),
        (2.0, 0.0),
        "a topic that is not there is given up at once, one that may come back is not"
    );
    pass(2 * 3700).await;
    assert_eq!(failed("dead"), 2.0, "after an hour each");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_of_what_is_not_on_the_disk() {
    let (world, disk, _) = hello_world();
    let process = start(&world, &disk, &with_receivers());
    pass(2).await;
    world.push("hello", "latest", "good");
    world
        .until("the update", std::time::Duration::from_secs(60), |world| !world.started("web", "hello").is_empty())
        .await;
    disk.set_full(true);
    pass(120).await;
    assert_eq!(told(&world, DEAD), Vec::<String>::new());
    disk.set_full(false);
    pass(60).await;
    assert_eq!(told(&world, DEAD), ["completed"]);
    process.stop().await;
}
