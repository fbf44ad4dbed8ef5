//! The comparison with ECR, every so often: it finds a push of which nobody told.

use ecs_deployd::domain::operator_command::OperatorCommand;
use jiff::SignedDuration;

use crate::harness::pass;
use crate::scene::Scene;
use crate::world::Health;

/// Nobody ever tells of this push.
const NEVER: SignedDuration = SignedDuration::from_hours(24 * 365);

async fn scene() -> Scene {
    let scene = Scene::hello().with("[poll]\nreconcile = \"10m\"").started().await;
    pass(1200).await;
    scene
}

fn push(scene: &Scene, content: &str) -> String {
    scene.world.push_late("hello", "latest", content, NEVER)
}

fn detected(scene: &Scene, source: &str) -> f64 {
    let labels = format!(r#"repository="hello",source="{source}""#);
    scene.metric(&format!("ecs_deployd_push_detection_seconds_count{{{labels}}}"))
}

#[tokio::test(start_paused = true)]
async fn a_push_that_nobody_tells_of_is_found_within_the_period() {
    let scene = scene().await;
    let pushed = push(&scene, "v1");
    pass(660).await;
    assert_eq!((scene.runs(), scene.rollouts()), (Some(pushed), 1));
    assert_eq!(detected(&scene, "reconcile"), 1.0);
    pass(7200).await;
    assert_eq!((scene.rollouts(), detected(&scene, "reconcile")), (1, 1.0));
    let seen = scene.service().await.deployed.unwrap().images[0].seen.unwrap();
    assert_eq!(seen.by.as_str(), "reconcile");
}

#[tokio::test(start_paused = true)]
async fn what_is_told_of_after_all_is_the_same_push() {
    let scene = scene().await;
    let bad = scene.world.push_late("hello", "latest", "bad", SignedDuration::from_mins(40));
    scene.world.set_health(&bad, Health::Never);
    scene.until("it is held", 1200, |scene| scene.held() == 1.0).await;
    let tried = scene.rollouts();
    pass(7200).await;
    assert_eq!((scene.held(), scene.runs(), scene.rollouts()), (1.0, Some(scene.v0.clone()), tried));
}

#[tokio::test(start_paused = true)]
async fn where_everything_is_told_of_it_costs_one_call_and_finds_nothing() {
    let scene = scene().await.and_pushed("v1").await;
    scene.world.forget_calls();
    pass(600 * 6).await;
    let count = scene.world.count();
    assert_eq!((count.get("DescribeImages"), count.get("DescribeServices")), (Some(&6), None), "{count:?}");
    assert_eq!(scene.rollouts(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_there_before_the_service_was_known_is_not_brought() {
    let scene = Scene::hello().with("[poll]\nreconcile = \"10m\"");
    push(&scene, "before");
    pass(5).await;
    let scene = scene.started().await;
    pass(7200).await;
    assert_eq!(scene.rollouts(), 0);
}

#[tokio::test(start_paused = true)]
async fn it_never_goes_back_and_leaves_alone_what_is_held_or_was_undone() {
    let scene = scene().await.and_pushed("v1").await;
    // A tag that is moved back to an old image cannot be dated.
    push(&scene, "v0");
    pass(3600).await;
    assert_eq!(scene.rollouts(), 1);
    // Somebody sets the service back.
    let revision = scene.revision_of_v0(&[]);
    scene.set_to(&revision);
    pass(3600).await;
    assert_eq!(scene.is_set_to(), revision);
    // An operator holds the service.
    scene.command(OperatorCommand::Hold { reason: None }).await.unwrap();
    push(&scene, "v2");
    pass(3600).await;
    assert_eq!(scene.is_set_to(), revision);
}

#[tokio::test(start_paused = true)]
async fn a_restart_knows_what_was_known() {
    let mut scene = scene().await;
    scene.kill().await;
    let pushed = push(&scene, "v1");
    pass(60).await;
    scene.start();
    pass(700).await;
    assert_eq!(scene.runs(), Some(pushed));
    scene.restart().await;
    pass(3600).await;
    assert_eq!(scene.rollouts(), 1);
}

impl Scene {
    /// A push that CloudTrail tells of at once, and that is deployed.
    async fn and_pushed(self, content: &str) -> Self {
        self.push(content);
        pass(120).await;
        assert_eq!(self.rollouts(), 1);
        self
    }
}
