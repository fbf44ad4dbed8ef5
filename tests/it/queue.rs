//! The queue as a source of pushes beside CloudTrail.

use ecs_deployd::aws::Fault;
use jiff::SignedDuration;

use crate::harness::pass;
use crate::scene::Scene;
use crate::world::{Fate, Health, QUEUE, edited};

/// CloudTrail tells of a push after so many seconds.
const LATE: i64 = 300;

/// The service, with a queue that a rule fills.
async fn scene() -> Scene {
    let table = format!("[aws.default]\nregion = \"eu-west-1\"\nqueue = \"{QUEUE}\"");
    let scene = Scene::hello().with(&table);
    scene.world.fill_queue();
    scene.started().await
}

fn push(scene: &Scene, content: &str) -> String {
    scene.world.push_late("hello", "latest", content, SignedDuration::from_secs(LATE))
}

fn messages(scene: &Scene, outcome: &str) -> f64 {
    scene.metric(&format!(r#"ecs_deployd_queue_messages_total{{aws="default",outcome="{outcome}"}}"#))
}

fn detected(scene: &Scene, source: &str) -> f64 {
    let labels = format!(r#"repository="hello",source="{source}""#);
    scene.metric(&format!("ecs_deployd_push_detection_seconds_count{{{labels}}}"))
}

#[tokio::test(start_paused = true)]
async fn a_push_rolls_within_seconds_and_cloudtrail_tells_of_the_same_one_later() {
    let scene = scene().await;
    let pushed = push(&scene, "v1");
    scene.until("it rolls", 3, |scene| scene.rollouts() == 1).await;
    pass(60).await;
    assert_eq!((scene.runs(), scene.world.queued()), (Some(pushed), 0));
    pass(600).await;
    assert_eq!((scene.rollouts(), scene.pushes("deployed"), messages(&scene, "push")), (1, 1.0, 1.0));
    assert_eq!(detected(&scene, "queue"), 1.0);
    assert_eq!(scene.metric(r#"ecs_deployd_push_delivery_seconds_count{repository="hello"}"#), 1.0);
    let seen = scene.service().await.deployed.unwrap().images[0].seen.unwrap();
    assert_eq!(seen.by.as_str(), "queue");
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_goes_away_and_comes_back_is_deployed_three_times_and_no_more() {
    let scene = scene().await;
    for (number, content) in ["a", "b", "a"].into_iter().enumerate() {
        let pushed = push(&scene, content);
        pass(60).await;
        assert_eq!((scene.runs(), scene.rollouts()), (Some(pushed), number + 1));
    }
    pass(3600).await;
    assert_eq!((scene.rollouts(), scene.pushes("deployed")), (3, 3.0));
}

#[tokio::test(start_paused = true)]
async fn the_second_telling_ends_no_hold() {
    let scene = scene().await;
    let bad = push(&scene, "bad");
    scene.world.set_health(&bad, Health::Never);
    scene.until("it is held", 900, |scene| scene.held() == 1.0).await;
    let tried = scene.rollouts();
    pass(7200).await;
    assert_eq!((scene.held(), scene.runs(), scene.rollouts()), (1.0, Some(scene.v0.clone()), tried));
}

#[tokio::test(start_paused = true)]
async fn what_the_queue_has_lost_cloudtrail_tells_and_what_comes_late_changes_nothing() {
    let scene = scene().await;
    let first = push(&scene, "first");
    scene.world.delay_last_message(1800);
    pass(1).await;
    let second = push(&scene, "second");
    scene.world.lose_last_message();
    pass(LATE.unsigned_abs() + 120).await;
    assert_eq!(scene.runs(), Some(second.clone()), "not {first}");
    assert_eq!(detected(&scene, "cloudtrail"), 2.0);
    pass(3600).await;
    assert_eq!((scene.runs(), messages(&scene, "duplicate"), scene.world.queued()), (Some(second), 1.0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_push_is_known_after_a_restart_by_whichever_source_tells() {
    let mut scene = scene().await;
    push(&scene, "v1");
    scene.rolls(1).await;
    scene.restart().await;
    pass(600).await;
    assert_eq!((scene.rollouts(), scene.pushes("duplicate") > 0.0), (1, true));
    // And the other way round: CloudTrail first, the message after the restart.
    scene.push("v2");
    scene.world.delay_last_message(200);
    scene.rolls(2).await;
    pass(60).await;
    scene.restart().await;
    pass(600).await;
    assert_eq!((scene.rollouts(), messages(&scene, "duplicate"), scene.world.queued()), (2, 1.0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_cannot_be_reached_delays_nothing() {
    let scene = scene().await;
    scene.world.break_operation("ReceiveMessage", Fault::Unavailable);
    pass(60).await;
    let pushed = scene.push("v1");
    pass(90).await;
    assert_eq!((scene.runs(), detected(&scene, "cloudtrail")), (Some(pushed), 1.0));
    let status = scene.status().await;
    let queue = status.contexts[0].queue.as_ref().unwrap();
    assert!(queue.last_error.as_ref().unwrap().contains("sqs:ReceiveMessage"), "{queue:?}");
    scene.world.mend_operation("ReceiveMessage");
    pass(60).await;
    assert_eq!((messages(&scene, "duplicate"), scene.world.queued(), scene.rollouts()), (1.0, 0, 1));
    assert_eq!(scene.status().await.contexts[0].queue.as_ref().unwrap().last_error, None);
}

#[tokio::test(start_paused = true)]
async fn a_message_stays_hidden_and_is_not_deleted_before_what_it_brought_is_durable() {
    let scene = scene().await;
    scene.disk.set_full(true);
    push(&scene, "v1");
    pass(250).await;
    assert_eq!((scene.world.queued(), scene.rollouts()), (1, 0), "the state cannot be written");
    assert_eq!(scene.world.deleted_and_redelivered(), (0, 0), "it is hidden for as long as that takes");
    scene.disk.set_full(false);
    pass(30).await;
    assert_eq!((scene.world.queued(), scene.rollouts()), (0, 1));
    assert_eq!(scene.world.deleted_and_redelivered(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_deletion_is_lost_comes_again_and_is_a_duplicate() {
    let scene = scene().await;
    scene.world.break_operation("DeleteMessage", Fault::Unavailable);
    push(&scene, "v1");
    pass(100).await;
    scene.world.mend_operation("DeleteMessage");
    pass(200).await;
    assert_eq!((scene.rollouts(), scene.world.queued(), messages(&scene, "push")), (1, 0, 1.0));
    assert!(messages(&scene, "duplicate") >= 1.0);
}

#[tokio::test(start_paused = true)]
async fn what_is_none_of_our_business_is_counted_and_deleted() {
    let scene = scene().await;
    let before = messages(&scene, "push");
    push(&scene, "v1");
    let event = scene.world.last_message();
    scene.world.lose_last_message();
    for (member, value) in [("account", "222222222222"), ("region", "us-east-1"), ("source", "aws.ec2")] {
        scene.world.put_message(&edited(&event, |event| event[member] = value.into()));
    }
    for (member, value) in [("action-type", "DELETE"), ("result", "FAILURE"), ("repository-name", "other")] {
        scene.world.put_message(&edited(&event, |event| event["detail"][member] = value.into()));
    }
    scene.world.put_message("rubbish");
    scene.world.put_message(&edited(&event, |event| event["time"] = "never".into()));
    pass(30).await;
    assert_eq!((messages(&scene, "foreign"), messages(&scene, "malformed")), (6.0, 2.0));
    assert_eq!((scene.world.queued(), scene.rollouts(), messages(&scene, "push")), (0, 0, before));
    pass(600).await;
    assert_eq!(scene.rollouts(), 1, "CloudTrail tells of it");
}

#[tokio::test(start_paused = true)]
async fn what_was_pushed_before_the_start_is_not_deployed() {
    let table = format!("[aws.default]\nregion = \"eu-west-1\"\nqueue = \"{QUEUE}\"");
    let scene = Scene::hello().with(&table);
    scene.world.fill_queue();
    push(&scene, "v1");
    pass(5).await;
    let scene = scene.started().await;
    pass(600).await;
    let told = (scene.pushes("before_start"), scene.world.queued());
    assert_eq!((scene.rollouts(), told), (0, (2.0, 0)), "the first image, which CloudTrail tells of, and this one");
}

/// The process is killed at each call that a push by way of the queue makes: before it, and after it was carried out.
#[tokio::test(start_paused = true)]
async fn killed_at_every_call_nothing_is_lost_and_nothing_is_deployed_twice() {
    let mut sums = (0, 0);
    for number in 0..12 {
        for fate in [Fate::HangsBefore, Fate::HangsAfter] {
            let mut scene = scene().await;
            pass(30).await;
            scene.world.forget_calls();
            let pushed = push(&scene, "v1");
            scene.world.set_fate(number, fate);
            pass(25).await;
            scene.world.clear_fates();
            scene.restart().await;
            pass(900).await;
            assert_eq!(scene.runs().as_ref(), Some(&pushed), "call {number} {fate:?}");
            assert_eq!((scene.rollouts(), scene.world.queued()), (1, 0), "call {number} {fate:?}");
            let (deleted, redelivered) = scene.world.deleted_and_redelivered();
            sums = (sums.0 + deleted, sums.1 + redelivered);
        }
    }
    eprintln!("24 lives: {} messages deleted, {} deliveries repeated", sums.0, sums.1);
    assert_eq!(sums.0, 24);
}
