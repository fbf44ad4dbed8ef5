//! What becomes of a push when nothing goes wrong.

use jiff::SignedDuration;

use crate::harness::{config, hello_world, pass, plan, seconds, start};
use crate::world::image_uri;

#[tokio::test(start_paused = true)]
async fn a_push_rolls_the_service_and_changes_one_image() {
    let (world, disk, _) = hello_world();
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    let digest = world.push("hello", "latest", "v1");
    world
        .until("v1 runs", seconds(120), |world| world.settled_image("web", "hello", "app").as_ref() == Some(&digest))
        .await;
    pass(10).await;
    let revisions = world.revisions("hello");
    assert_eq!(revisions.len(), 2);
    let mut expected = revisions[0].clone();
    expected["containerDefinitions"][0]["image"] = format!("{}@{digest}", image_uri("hello")).into();
    expected["taskDefinitionArn"] = revisions[1]["taskDefinitionArn"].clone();
    expected["revision"] = 2.into();
    assert_eq!(revisions[1], expected, "nothing but the image differs");
    assert_eq!(
        process.metric(r#"ecs_deployd_deployments_total{cluster="web",outcome="completed",service="hello"}"#),
        1.0
    );
    assert_eq!(process.metric(r#"ecs_deployd_pushes_total{outcome="deployed",repository="hello"}"#), 1.0);
    assert_eq!(process.metric(r#"ecs_deployd_pushes_total{outcome="before_start",repository="hello"}"#), 1.0);
    assert_eq!(process.metric(r#"ecs_deployd_deployments_in_progress{cluster="web",service="hello"}"#), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_then_b_then_a_again_are_three_deployments_and_a_re_read_is_none() {
    let (world, disk, _) = hello_world();
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    for (number, content) in ["a", "b", "a"].into_iter().enumerate() {
        let digest = world.push("hello", "latest", content);
        world
            .until("it runs", seconds(120), |world| {
                world.settled_image("web", "hello", "app").as_ref() == Some(&digest)
            })
            .await;
        pass(600).await;
        assert_eq!(world.started("web", "hello").len(), number + 1);
    }
    drop(process);
}

#[tokio::test(start_paused = true)]
async fn late_and_out_of_order_events_never_downgrade() {
    let (world, disk, _) = hello_world();
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    world.push_late("hello", "release-1", "one", SignedDuration::from_mins(20));
    pass(5).await;
    let two = world.push("hello", "release-2", "two");
    pass(3600).await;
    assert_eq!(world.settled_image("web", "hello", "app"), Some(two));
    assert_eq!(world.started("web", "hello").len(), 1);
    assert_eq!(process.metric(r#"ecs_deployd_pushes_total{outcome="superseded",repository="hello"}"#), 1.0);
}

#[tokio::test(start_paused = true)]
async fn an_event_is_a_hint_and_ecr_is_the_truth() {
    let (world, disk, _) = hello_world();
    let _process = start(&world, &disk, &config(""));
    pass(2).await;
    world.push_late("hello", "latest", "one", SignedDuration::from_mins(5));
    let two = world.push_late("hello", "latest", "two", SignedDuration::from_mins(9));
    pass(400).await;
    assert_eq!(world.settled_image("web", "hello", "app"), Some(two.clone()), "the tag had moved on");
    pass(600).await;
    assert_eq!(world.started("web", "hello").len(), 1, "the second event finds it deployed");

    world.push_late("hello", "release-9", "gone", SignedDuration::from_mins(5));
    world.delete_tag("hello", "release-9");
    pass(900).await;
    assert_eq!(world.settled_image("web", "hello", "app"), Some(two));
}

#[tokio::test(start_paused = true)]
async fn a_record_without_its_tag_is_looked_up_in_ecr() {
    let (world, disk, _) = hello_world();
    let _process = start(&world, &disk, &config(""));
    pass(2).await;
    let digest = world.push("hello", "release-1", "large manifest");
    world.edit_last_event(|body| {
        body["requestParameters"] = serde_json::json!({"omitted": true, "originalSize": 200_000});
        body["resources"] = serde_json::json!([{"ARN": "arn:aws:ecr:eu-west-1:111111111111:repository/hello"}]);
    });
    pass(120).await;
    assert_eq!(world.settled_image("web", "hello", "app"), Some(digest));
}

#[tokio::test(start_paused = true)]
async fn a_week_of_downtime_is_caught_up_from_the_cursor() {
    let (world, disk, _) = hello_world();
    start(&world, &disk, &config("")).stop().await;
    let process = start(&world, &disk, &config(""));
    pass(60).await;
    process.stop().await;
    world.set_page_size(7);
    let mut last = String::new();
    for day in 0..7 {
        pass(86_400).await;
        for push in 0..10 {
            last = world.push("hello", "latest", &format!("day {day} push {push}"));
            pass(60).await;
        }
    }
    pass(40_000).await;
    let process = start(&world, &disk, &config(""));
    pass(300).await;
    assert_eq!(world.settled_image("web", "hello", "app"), Some(last));
    assert_eq!(world.started("web", "hello").len(), 1, "only the newest push is rolled");
    drop(process);
}

#[tokio::test(start_paused = true)]
async fn without_a_state_nothing_is_deployed_unless_reconciliation_is_wanted() {
    let (world, disk, v0) = hello_world();
    pass(100).await;
    let v1 = world.push("hello", "latest", "v1");
    pass(100).await;
    let process = start(&world, &disk, &config(""));
    pass(300).await;
    assert_eq!(world.settled_image("web", "hello", "app"), Some(v0));
    process.kill().await;
    let lost = std::sync::Arc::default();
    let process = start(&world, &lost, &config("[state]\nwhen_missing = \"reconcile\""));
    pass(300).await;
    assert_eq!(world.settled_image("web", "hello", "app"), Some(v1));
    process.kill().await;
    let lost_again = std::sync::Arc::default();
    let _process = start(&world, &lost_again, &config("[state]\nwhen_missing = \"reconcile\""));
    pass(300).await;
    assert_eq!(world.started("web", "hello").len(), 1, "nothing differs any more");
}

#[tokio::test(start_paused = true)]
async fn a_service_behind_a_classic_load_balancer_completes() {
    let (world, disk, _) = hello_world();
    world.edit_service("web", "hello", |service| service.classic = true);
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    world.push("hello", "latest", "v1");
    pass(120).await;
    assert_eq!(
        process.metric(r#"ecs_deployd_deployments_total{cluster="web",outcome="completed",service="hello"}"#),
        1.0
    );
}

#[tokio::test(start_paused = true)]
async fn a_newer_push_supersedes_a_rollout_under_way() {
    let (world, disk, _) = hello_world();
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    let slow = world.push("hello", "latest", "slow");
    world.set_health(&slow, crate::world::Health::Never);
    pass(60).await;
    let good = world.push("hello", "latest", "good");
    pass(120).await;
    assert_eq!(world.settled_image("web", "hello", "app"), Some(good));
    assert_eq!(
        process.metric(r#"ecs_deployd_deployments_total{cluster="web",outcome="superseded",service="hello"}"#),
        1.0
    );
    assert_eq!(
        process.metric(r#"ecs_deployd_deployments_total{cluster="web",outcome="completed",service="hello"}"#),
        1.0
    );
}

#[tokio::test(start_paused = true)]
async fn an_app_and_its_sidecar_pushed_together_make_one_revision() {
    let (world, disk, _) = hello_world();
    world.create_repository("side");
    world.push("side", "latest", "s0");
    let revision = world.register(
        "pair",
        &[("app", &format!("{}:latest", image_uri("hello"))), ("side", &format!("{}:latest", image_uri("side")))],
    );
    world.create_service("web", "pair", &revision, 2);
    let both = r#"
        [[repository]]
        name = "hello"
        tags = ["latest"]
        [[repository.service]]
        cluster = "web"
        service = "pair"
        [[repository]]
        name = "side"
        tags = ["latest"]
        [[repository.service]]
        cluster = "web"
        service = "pair"
        "#;
    let _process = start(&world, &disk, both);
    pass(2).await;
    let app = world.push("hello", "latest", "a1");
    let side = world.push("side", "latest", "s1");
    pass(120).await;
    assert_eq!(world.settled_image("web", "pair", "app"), Some(app));
    assert_eq!(world.settled_image("web", "pair", "side"), Some(side));
    assert_eq!(world.revisions("pair").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_highest_version_in_ecr_wins() {
    let (world, disk, _) = hello_world();
    let versions = config("").replace(r#"tags = ["latest", "release-*"]"#, r#"semver = ">=1""#);
    let process = start(&world, &disk, &versions);
    pass(2).await;
    for version in ["1.0.0", "1.1.0", "1.2.0", "1.10.0"] {
        world.push("hello", version, version);
    }
    pass(120).await;
    let highest = world.settled_image("web", "hello", "app");
    let fix = world.push("hello", "1.2.1", "a fix of an older line");
    pass(120).await;
    assert_eq!(world.settled_image("web", "hello", "app"), highest);
    assert_ne!(highest, Some(fix));
    assert_eq!(world.started("web", "hello").len(), 1);
    assert!(process.metric(r#"ecs_deployd_pushes_total{outcome="lower_version",repository="hello"}"#) >= 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_first_start_without_cloudtrail_loses_nothing_however_long_it_takes() {
    let (world, disk, _) = hello_world();
    world.break_operation("LookupEvents", ecs_deployd::aws::Fault::Denied);
    let process = start(&world, &disk, &config(""));
    pass(60).await;
    let digest = world.push("hello", "latest", "v1");
    pass(10 * 3600).await;
    process.kill().await;
    let process = start(&world, &disk, &config(""));
    pass(10 * 3600).await;
    world.mend_operation("LookupEvents");
    pass(120).await;
    assert_eq!(world.settled_image("web", "hello", "app"), Some(digest));
    drop(process);
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_is_gone_does_not_hide_an_older_push_on_the_next_page() {
    let (world, disk, _) = hello_world();
    let process = start(&world, &disk, &config(""));
    pass(60).await;
    process.stop().await;
    let good = world.push("hello", "release-1", "good");
    pass(60).await;
    world.push("hello", "release-2", "gone");
    world.delete_tag("hello", "release-2");
    world.set_page_size(1);
    let _process = start(&world, &disk, &config(""));
    pass(120).await;
    assert_eq!(world.settled_image("web", "hello", "app"), Some(good));
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_is_complete_but_not_looked_at_yet_is_complete_when_it_is_superseded() {
    let (world, disk, _) = hello_world();
    let process = start(&world, &disk, &config("observe_interval = \"5m\""));
    pass(2).await;
    let good = world.push("hello", "latest", "good");
    pass(60).await;
    let bad = world.push("hello", "latest", "bad");
    world.set_health(&bad, crate::world::Health::Never);
    pass(1500).await;
    assert_eq!(world.settled_image("web", "hello", "app"), Some(good), "not to what ran before it");
    assert_eq!(
        process.metric(r#"ecs_deployd_deployments_total{cluster="web",outcome="completed",service="hello"}"#),
        1.0
    );
}

#[tokio::test(start_paused = true)]
async fn what_such_a_rollout_named_by_tag_is_pinned_on_the_way_back() {
    let (world, disk, _) = hello_world();
    let _process = start(&world, &disk, &config("observe_interval = \"5m\"\npin = \"tag\""));
    pass(2).await;
    let good = world.push("hello", "latest", "good");
    pass(60).await;
    let bad = world.push("hello", "latest", "bad");
    world.set_health(&bad, crate::world::Health::Never);
    pass(1500).await;
    assert_eq!(world.settled_image("web", "hello", "app"), Some(good));
}

#[tokio::test(start_paused = true)]
async fn a_plan_shows_what_a_start_after_a_hundred_days_does() {
    let (world, disk, v0) = hello_world();
    let process = start(&world, &disk, &config(""));
    pass(60).await;
    process.kill().await;
    pass(3 * 86_400).await;
    let v1 = world.push("hello", "latest", "v1");
    pass(97 * 86_400).await;
    let plan = plan(&world, &disk, &config("")).await;
    let [push] = plan.pushes.as_slice() else { panic!("{plan:#?}") };
    assert_eq!((push.event.as_str(), push.decision.as_str()), ("reconcile", "deploy"), "{push:#?}");
    assert!(push.detail.contains(v1.as_str()), "{push:#?}");
    assert_eq!(plan.services[0].state.as_str(), "differs");
    assert_eq!((world.started("web", "hello").len(), world.settled_image("web", "hello", "app")), (0, Some(v0)));
    let _process = start(&world, &disk, &config(""));
    pass(300).await;
    assert_eq!(world.settled_image("web", "hello", "app"), Some(v1));
}

#[tokio::test(start_paused = true)]
async fn a_lost_state_brings_nothing_older_back_although_the_newest_tag_is_gone() {
    let (world, disk, _) = hello_world();
    let reconcile = "[state]\nwhen_missing = \"reconcile\"\n".to_owned() + &config("");
    let process = start(&world, &disk, &reconcile);
    pass(60).await;
    world.push("hello", "release-1", "one");
    pass(120).await;
    let two = world.push("hello", "release-2", "two");
    pass(120).await;
    assert_eq!(world.settled_image("web", "hello", "app").as_ref(), Some(&two));
    process.kill().await;
    world.delete_tag("hello", "release-2");
    disk.lose();
    pass(8 * 3600).await;
    let process = start(&world, &disk, &reconcile);
    pass(600).await;
    assert_eq!(world.settled_image("web", "hello", "app"), Some(two));
    assert_eq!(world.started("web", "hello").len(), 2, "{:#?}", world.log_of("web", "hello"));
    // An operator may ask for what is left.
    let order = ecs_deployd::domain::steering::Order::Deploy;
    let answer = process.order("web/hello", order).await.unwrap();
    assert!(answer.contains("rolling to hello:release-1"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_baked_to_its_end_unseen_is_the_way_back_of_the_next_one() {
    let (world, disk, _) = hello_world();
    world.edit_service("web", "hello", |service| service.bake = SignedDuration::from_mins(5));
    let process = start(&world, &disk, &config(""));
    pass(60).await;
    world.push("hello", "latest", "one");
    pass(900).await;
    let two = world.push("hello", "latest", "two");
    world.until("two rolls", seconds(60), |world| world.started("web", "hello").len() == 2).await;
    pass(5).await;
    process.kill().await;
    pass(3600).await;
    let bad = world.push("hello", "latest", "bad");
    world.set_health(&bad, crate::world::Health::Never);
    let process = start(&world, &disk, &config(""));
    pass(3600).await;
    assert_eq!(world.settled_image("web", "hello", "app"), Some(two), "{:#?}", world.log_of("web", "hello"));
    let completed = r#"ecs_deployd_deployments_total{cluster="web",outcome="completed",service="hello"}"#;
    assert_eq!(process.metric(completed), 1.0, "the one that nobody had seen to its end");
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_shifts_traffic_is_complete_when_it_has_baked() {
    let (world, disk, _) = hello_world();
    world.edit_service("web", "hello", |service| service.bake = SignedDuration::from_mins(20));
    let process = start(&world, &disk, &config(""));
    pass(60).await;
    world.push("hello", "latest", "one");
    world.until("it rolls", seconds(60), |world| world.started("web", "hello").len() == 1).await;
    // Longer than the deadline of five minutes.
    pass(15 * 60).await;
    let status = process.status().await;
    assert_eq!(status.services[0].rollout.as_ref().map(|rollout| rollout.phase.as_str()), Some("rolling"));
    pass(6 * 60).await;
    let status = process.status().await;
    assert_eq!(status.services[0].history[0].result.as_str(), "completed");
    assert!(status.services[0].rollout.is_none());
}
