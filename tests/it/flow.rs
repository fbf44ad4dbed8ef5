//! What becomes of a push when nothing goes wrong.

use jiff::SignedDuration;

use crate::harness::pass;
use crate::scene::{Named, Scene, rule};
use crate::world::{Health, image_uri};

#[tokio::test(start_paused = true)]
async fn a_push_rolls_the_service_and_changes_one_image() {
    let scene = Scene::hello().started().await;
    let digest = scene.push("v1");
    scene.until("v1 runs", 120, |scene| scene.runs().as_ref() == Some(&digest)).await;
    pass(10).await;
    let revisions = scene.world.revisions("hello");
    assert_eq!(revisions.len(), 2);
    let mut expected = revisions[0].clone();
    expected["containerDefinitions"][0]["image"] = format!("{}@{digest}", image_uri("hello")).into();
    expected["taskDefinitionArn"] = revisions[1]["taskDefinitionArn"].clone();
    expected["revision"] = 2.into();
    assert_eq!(revisions[1], expected, "nothing but the image differs");
    assert_eq!(scene.ended("completed"), 1.0);
    assert_eq!(scene.pushes("deployed"), 1.0);
    assert_eq!(scene.pushes("before_start"), 1.0);
    assert_eq!(scene.metric(r#"ecs_deployd_deployments_in_progress{cluster="web",service="hello"}"#), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_then_b_then_a_again_are_three_deployments_and_a_re_read_is_none() {
    let scene = Scene::hello().started().await;
    for (number, content) in ["a", "b", "a"].into_iter().enumerate() {
        let digest = scene.push(content);
        scene.until("it runs", 120, |scene| scene.runs().as_ref() == Some(&digest)).await;
        pass(600).await;
        assert_eq!(scene.rollouts(), number + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn late_and_out_of_order_events_never_downgrade() {
    let scene = Scene::hello().started().await;
    scene.world.push_late("hello", "release-1", "one", SignedDuration::from_mins(20));
    pass(5).await;
    let two = scene.world.push("hello", "release-2", "two");
    pass(3600).await;
    assert_eq!(scene.runs(), Some(two));
    assert_eq!(scene.rollouts(), 1);
    assert_eq!(scene.pushes("superseded"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn an_event_is_a_hint_and_ecr_is_the_truth() {
    let scene = Scene::hello().started().await;
    scene.world.push_late("hello", "latest", "one", SignedDuration::from_mins(5));
    let two = scene.world.push_late("hello", "latest", "two", SignedDuration::from_mins(9));
    pass(400).await;
    assert_eq!(scene.runs(), Some(two.clone()), "the tag had moved on");
    pass(600).await;
    assert_eq!(scene.rollouts(), 1, "the second event finds it deployed");

    scene.world.push_late("hello", "release-9", "gone", SignedDuration::from_mins(5));
    scene.world.delete_tag("hello", "release-9");
    pass(900).await;
    assert_eq!(scene.runs(), Some(two));
}

#[tokio::test(start_paused = true)]
async fn a_record_without_its_tag_is_looked_up_in_ecr() {
    let scene = Scene::hello().started().await;
    let digest = scene.world.push("hello", "release-1", "large manifest");
    scene.world.edit_last_event(|body| {
        body["requestParameters"] = serde_json::json!({"omitted": true, "originalSize": 200_000});
        body["resources"] = serde_json::json!([{"ARN": "arn:aws:ecr:eu-west-1:111111111111:repository/hello"}]);
    });
    pass(120).await;
    assert_eq!(scene.runs(), Some(digest));
}

#[tokio::test(start_paused = true)]
async fn a_week_of_downtime_is_caught_up_from_the_cursor() {
    let mut scene = Scene::hello();
    scene.start();
    scene.stop().await;
    scene.start();
    pass(60).await;
    scene.stop().await;
    scene.world.set_page_size(7);
    let mut last = String::new();
    for day in 0..7 {
        pass(86_400).await;
        for push in 0..10 {
            last = scene.push(&format!("day {day} push {push}"));
            pass(60).await;
        }
    }
    pass(40_000).await;
    scene.start();
    pass(300).await;
    assert_eq!(scene.runs(), Some(last));
    assert_eq!(scene.rollouts(), 1, "only the newest push is rolled");
}

#[tokio::test(start_paused = true)]
async fn without_a_state_nothing_is_deployed_unless_reconciliation_is_wanted() {
    let mut scene = Scene::hello();
    pass(100).await;
    let v1 = scene.push("v1");
    pass(100).await;
    scene.start();
    pass(300).await;
    assert_eq!(scene.runs(), Some(scene.v0.clone()));
    scene.kill().await;
    scene.disk.lose();
    scene = scene.with("[state]\nwhen_missing = \"reconcile\"");
    scene.start();
    pass(300).await;
    assert_eq!(scene.runs(), Some(v1));
    scene.kill().await;
    scene.disk.lose();
    scene.start();
    pass(300).await;
    assert_eq!(scene.rollouts(), 1, "nothing differs any more");
}

#[tokio::test(start_paused = true)]
async fn a_service_behind_a_classic_load_balancer_completes() {
    let scene = Scene::hello().edited(|service| service.classic = true).started().await;
    scene.push("v1");
    pass(120).await;
    assert_eq!(scene.ended("completed"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_newer_push_supersedes_a_rollout_under_way() {
    let scene = Scene::hello().started().await;
    scene.push_that(Health::Never, "slow");
    pass(60).await;
    scene.deployed("good").await;
    assert_eq!(scene.ended("superseded"), 1.0);
    assert_eq!(scene.ended("completed"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn an_app_and_its_sidecar_pushed_together_make_one_revision() {
    let (scene, _) = Scene::pair(Named::ByTag);
    let scene = scene.started().await;
    let app = scene.push("a1");
    let side = scene.world.push("side", "latest", "s1");
    pass(120).await;
    assert_eq!(scene.runs_in("pair", "app"), Some(app));
    assert_eq!(scene.runs_in("pair", "side"), Some(side));
    assert_eq!(scene.world.revisions("pair").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_highest_version_in_ecr_wins() {
    let scene = Scene::hello().configured(&rule("hello", "semver = \">=1\"", "hello")).started().await;
    for version in ["1.0.0", "1.1.0", "1.2.0", "1.10.0"] {
        scene.world.push("hello", version, version);
    }
    pass(120).await;
    let highest = scene.runs();
    let fix = scene.world.push("hello", "1.2.1", "a fix of an older line");
    pass(120).await;
    assert_eq!(scene.runs(), highest);
    assert_ne!(highest, Some(fix));
    assert_eq!(scene.rollouts(), 1);
    assert!(scene.pushes("lower_version") >= 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_first_start_without_cloudtrail_loses_nothing_however_long_it_takes() {
    let mut scene = Scene::hello();
    scene.world.break_operation("LookupEvents", ecs_deployd::aws::Fault::Denied);
    scene.start();
    pass(60).await;
    let digest = scene.push("v1");
    pass(10 * 3600).await;
    scene.kill().await;
    scene.start();
    pass(10 * 3600).await;
    scene.world.mend_operation("LookupEvents");
    pass(120).await;
    assert_eq!(scene.runs(), Some(digest));
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_is_gone_does_not_hide_an_older_push_on_the_next_page() {
    let mut scene = Scene::hello();
    scene.start();
    pass(60).await;
    scene.stop().await;
    let good = scene.world.push("hello", "release-1", "good");
    pass(60).await;
    scene.world.push("hello", "release-2", "gone");
    scene.world.delete_tag("hello", "release-2");
    scene.world.set_page_size(1);
    scene.start();
    pass(120).await;
    assert_eq!(scene.runs(), Some(good));
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_is_complete_but_not_looked_at_yet_is_complete_when_it_is_superseded() {
    let scene = Scene::hello().deploy("observe_interval = \"5m\"").started().await;
    let good = scene.push("good");
    pass(60).await;
    scene.push_that(Health::Never, "bad");
    pass(1500).await;
    assert_eq!(scene.runs(), Some(good), "not to what ran before it");
    assert_eq!(scene.ended("completed"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn what_such_a_rollout_named_by_tag_is_pinned_in_the_rollback() {
    let scene = Scene::hello().deploy("observe_interval = \"5m\"\npin = \"tag\"").started().await;
    let good = scene.push("good");
    pass(60).await;
    scene.push_that(Health::Never, "bad");
    pass(1500).await;
    assert_eq!(scene.runs(), Some(good));
}

#[tokio::test(start_paused = true)]
async fn a_plan_shows_what_a_start_after_a_hundred_days_does() {
    let mut scene = Scene::hello();
    scene.start();
    pass(60).await;
    scene.kill().await;
    pass(3 * 86_400).await;
    let v1 = scene.push("v1");
    pass(97 * 86_400).await;
    let plan = scene.plan().await;
    let [push] = plan.pushes.as_slice() else { panic!("{plan:#?}") };
    assert_eq!((push.event.as_str(), push.decision.as_str()), ("reconcile", "deploy"), "{push:#?}");
    assert!(push.detail.contains(v1.as_str()), "{push:#?}");
    assert_eq!(plan.services[0].state.as_str(), "differs");
    assert_eq!((scene.rollouts(), scene.runs()), (0, Some(scene.v0.clone())));
    scene.start();
    pass(300).await;
    assert_eq!(scene.runs(), Some(v1));
}

#[tokio::test(start_paused = true)]
async fn a_lost_state_brings_nothing_older_back_although_the_newest_tag_is_gone() {
    let mut scene = Scene::hello().with("[state]\nwhen_missing = \"reconcile\"");
    scene.start();
    pass(60).await;
    scene.world.push("hello", "release-1", "one");
    pass(120).await;
    let two = scene.world.push("hello", "release-2", "two");
    pass(120).await;
    assert_eq!(scene.runs().as_ref(), Some(&two));
    scene.kill().await;
    scene.world.delete_tag("hello", "release-2");
    scene.disk.lose();
    pass(8 * 3600).await;
    scene.start();
    pass(600).await;
    assert_eq!(scene.runs(), Some(two));
    assert_eq!(scene.rollouts(), 2, "{:#?}", scene.world.log_of("web", "hello"));
    // An operator may ask for what is left.
    let command = ecs_deployd::domain::operator_command::OperatorCommand::Deploy;
    let answer = scene.command(command).await.unwrap();
    assert!(answer.contains("rolling to hello:release-1"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_baked_to_its_end_unseen_is_the_rollback_target_of_the_next_one() {
    let mut scene = Scene::hello().edited(|service| service.bake = SignedDuration::from_mins(5));
    scene.start();
    pass(60).await;
    scene.push("one");
    pass(900).await;
    let two = scene.push("two");
    scene.rolls(2).await;
    pass(5).await;
    scene.kill().await;
    pass(3600).await;
    scene.push_that(Health::Never, "bad");
    scene.start();
    pass(3600).await;
    assert_eq!(scene.runs(), Some(two), "{:#?}", scene.world.log_of("web", "hello"));
    assert_eq!(scene.ended("completed"), 1.0, "the one that nobody had seen to its end");
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_shifts_traffic_is_complete_when_it_has_baked() {
    let mut scene = Scene::hello().edited(|service| service.bake = SignedDuration::from_mins(20));
    scene.start();
    pass(60).await;
    scene.push("one");
    scene.rolls(1).await;
    // Longer than the deadline of five minutes.
    pass(15 * 60).await;
    let service = scene.service().await;
    assert_eq!(service.rollout.as_ref().map(|rollout| rollout.phase.as_str()), Some("rolling"));
    pass(6 * 60).await;
    let service = scene.service().await;
    assert_eq!(service.history[0].result.as_str(), "completed");
    assert!(service.rollout.is_none());
}
