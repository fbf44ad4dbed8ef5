//! Who is notified of what, and what a receiver that is dead does not do.

use ecs_deployd::aws::Fault;
use serde_json::Value;

use crate::harness::pass;
use crate::scene::Scene;
use crate::world::Health;

const OPS: &str = "arn:aws:sns:eu-west-1:111111111111:ops";
const DEAD: &str = "arn:aws:sns:eu-west-1:111111111111:dead";

fn told(scene: &Scene, topic: &str) -> Vec<String> {
    let result = |text: &str| {
        let value: Value = serde_json::from_str(text).unwrap();
        value["deployment"]["result"].as_str().unwrap().to_owned()
    };
    scene.world.messages(topic).iter().map(|message| result(&message.text)).collect()
}

/// The service, with a receiver `ops` of what fails and a receiver `dead` of everything.
fn with_receivers() -> Scene {
    let table = |name: &str, arn: &str, rest: &str| format!("[[notify]]\nname = \"{name}\"\nsns = \"{arn}\"\n{rest}\n");
    let ops = table("ops", OPS, "outcomes = [\"failed\", \"timed_out\", \"rolled_back\"]");
    Scene::hello().with(&table("dead", DEAD, "")).with(&ops)
}

#[tokio::test(start_paused = true)]
async fn a_dead_receiver_delays_nothing_and_is_told_when_it_lives_again() {
    let scene = with_receivers();
    scene.world.break_topic(DEAD, Some(Fault::Unavailable));
    let scene = scene.started().await;
    let good = scene.deployed("good").await;
    scene.push_that(Health::Stops, "bad");
    pass(180).await;
    assert_eq!(scene.runs(), Some(good), "the daemon goes on");
    assert_eq!(told(&scene, OPS), ["failed", "rolled_back"], "chosen by outcome, told at once");
    assert_eq!(told(&scene, DEAD), Vec::<String>::new());
    assert_eq!(scene.metric("ecs_deployd_notifications_total{outcome=\"sent\",receiver=\"ops\"}"), 2.0);
    scene.world.break_topic(DEAD, None);
    pass(70).await;
    assert_eq!(told(&scene, DEAD), ["completed", "failed", "rolled_back"], "all of it, in order");
}

#[tokio::test(start_paused = true)]
async fn what_is_never_taken_is_given_up_and_counted() {
    let scene = with_receivers();
    scene.world.break_topic(DEAD, Some(Fault::Unavailable));
    scene.world.break_topic(OPS, Some(Fault::NotFound));
    let scene = scene.started().await;
    scene.push_that(Health::Stops, "bad");
    pass(600).await;
    let failed = |name: &str| {
        scene.metric(&format!("ecs_deployd_notifications_total{{outcome=\"failed\",receiver=\"{name}\"}}"))
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
async fn nothing_is_notified_that_is_not_on_the_disk() {
    let mut scene = with_receivers().started().await;
    scene.push("good");
    scene.rolls(1).await;
    scene.disk.set_full(true);
    pass(120).await;
    assert_eq!(told(&scene, DEAD), Vec::<String>::new());
    scene.disk.set_full(false);
    pass(60).await;
    assert_eq!(told(&scene, DEAD), ["completed"]);
    scene.stop().await;
}
