//! Where a service goes back to, and that a comparison with ECR never takes it down.

use std::time::Duration;

use ecs_deployd::domain::operator_command::OperatorCommand;
use jiff::SignedDuration;
use serde_json::Value;

use crate::harness::{config, pass};
use crate::scene::Scene;
use crate::world::{Health, World, image_uri, manifest_digest};

const FAILED: &str = r#"ecs_deployd_deployments_total{cluster="web",outcome="failed",service="hello"}"#;
const ROLLED_BACK: &str = r#"ecs_deployd_deployments_total{cluster="web",outcome="rolled_back",service="hello"}"#;
const TOPIC: &str = "arn:aws:sns:eu-west-1:111111111111:ops";

/// A policy, the tag of what is left in ECR, and that of what runs and was deleted.
const POLICIES: [(&str, &str, &str); 3] = [
    ("semver = \">=1\"", "1.4.0", "1.5.0"),
    ("regex = '^main-(?<key>[0-9]+)$'\norder = \"numeric\"", "main-7", "main-8"),
    ("tags = [\"release-*\"]", "release-1", "release-2"),
];

fn reconciling(policy: &str) -> String {
    format!(
        "[state]\nwhen_missing = \"reconcile\"\n[[repository]]\nname = \"hello\"\n{policy}\n[[repository.service]]\ncluster = \"web\"\nservice = \"hello\"\n"
    )
}

fn updates(world: &World) -> usize {
    world.started("web", "hello").len()
}

#[tokio::test(start_paused = true)]
async fn a_comparison_never_goes_down_from_what_ecr_has_lost() {
    for (policy, left, runs) in POLICIES {
        for (loses_state, loses_image) in [(true, true), (true, false), (false, true), (false, false)] {
            let what = format!("{policy}: the state is lost: {loses_state}, the image, too: {loses_image}");
            let mut scene = Scene::hello().configured(&reconciling(policy));
            scene.start();
            pass(60).await;
            for tag in [left, runs] {
                scene.world.push("hello", tag, tag);
                pass(120).await;
            }
            let newest = scene.world.settled_image("web", "hello", "app").unwrap();
            assert_eq!(updates(&scene.world), 2, "{what}");
            scene.stop().await;
            scene.world.delete_tag("hello", runs);
            if loses_image {
                scene.world.delete_image("hello", &newest);
            }
            if loses_state {
                scene.disk.lose();
            } else {
                pass(100 * 86_400).await;
            }
            scene.start();
            pass(600).await;
            assert_eq!(
                (scene.world.settled_image("web", "hello", "app"), updates(&scene.world)),
                (Some(newest), 2),
                "{what}"
            );
            let decision = scene.status().await.pushes[0].clone();
            assert!(["lower_version", "superseded"].contains(&decision.decision.as_str()), "{what}: {decision:#?}");
            // Who asks may have it. As long as the newest push is on record, nothing that was pushed before it counts as the newest.
            let answer = scene.process().command("web/hello", OperatorCommand::Deploy).await;
            let told = answer.as_ref().map_or_else(|refused| refused.0.as_str(), String::as_str);
            let on_record = policy.starts_with("tags") && !loses_state;
            let expected = if on_record { "superseded: release-2, which was decided" } else { "rolling to hello:" };
            assert!(told.starts_with(expected), "{what}: {answer:?}");
            scene.kill().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_comparison_goes_up_from_what_ecr_has_lost() {
    for (policy, left, runs) in POLICIES {
        let mut scene = Scene::hello().configured(&reconciling(policy));
        scene.start();
        pass(60).await;
        scene.world.push("hello", left, left);
        pass(120).await;
        scene.stop().await;
        scene.world.delete_image("hello", &scene.world.settled_image("web", "hello", "app").unwrap());
        let newer = scene.world.push("hello", runs, runs);
        pass(100 * 86_400).await;
        scene.start();
        pass(600).await;
        assert_eq!(scene.world.settled_image("web", "hello", "app"), Some(newer), "{policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_rollback_target_is_what_completed_and_not_what_was_being_rolled_out() {
    for by_tag in [true, false] {
        let mut scene = Scene::hello();
        let v0 = scene.v0.clone();
        let image = if by_tag { ":latest".to_owned() } else { format!("@{v0}") };
        let good =
            scene.world.register("good", &[("app", &format!("{}{image}", image_uri("hello"))), ("side", "envoy:1")]);
        scene.world.create_service("web", "hello", &good, 2);
        scene.start();
        pass(60).await;
        let ill = scene.world.push("hello", "dev", "ill");
        scene.world.set_health(&ill, Health::Never);
        let theirs = scene.world.register("good", &[("app", &format!("{}@{ill}", image_uri("hello")))]);
        scene.world.interfere("web", "hello", &theirs);
        pass(60).await;
        let bad = scene.world.push("hello", "latest", "bad");
        scene.world.set_health(&bad, Health::Never);
        pass(600).await;
        assert_eq!(scene.process().metric(ROLLED_BACK), 1.0, "{by_tag}");
        assert_eq!(scene.world.settled_image("web", "hello", "app"), Some(v0.clone()), "{by_tag}");
        let set_to = scene.world.revision_of("web", "hello");
        if by_tag {
            // The tag means the bad image by now: a copy of the good revision is pinned to what ran.
            let copy = scene.world.revisions("good").pop().unwrap();
            assert_eq!(copy["taskDefinitionArn"], set_to);
            assert_eq!(copy["containerDefinitions"][0]["image"], format!("{}@{v0}", image_uri("hello")));
            assert_eq!(copy["containerDefinitions"][1]["image"], "envoy:1", "a copy of the good one");
        } else {
            assert_eq!(set_to, good);
        }
        scene.kill().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_changed_is_not_taken_for_ours_when_the_rollout_made_from_it_completes() {
    let mut scene = Scene::hello();
    let v0 = scene.v0.clone();
    scene.world.create_repository("side");
    let side = scene.world.push("side", "latest", "s0");
    let containers =
        [("app", format!("{}@{v0}", image_uri("hello"))), ("side", format!("{}@{side}", image_uri("side")))];
    let pair = scene.world.register("pair", &[("app", &containers[0].1), ("side", &containers[1].1)]);
    scene.world.create_service("web", "hello", &pair, 2);
    let side_rule = "[[repository]]\nname = \"side\"\ntags = [\"latest\"]\n[[repository.service]]\ncluster = \"web\"\nservice = \"hello\"\n";
    scene = scene.configured(&(config("") + side_rule));
    scene.start();
    pass(2).await;
    scene.world.push("side", "latest", "s1");
    pass(120).await;
    let repositories = || -> Vec<String> {
        let state = scene.disk.state().unwrap();
        let deployed = state.services.values().find_map(|known| known.deployed.clone()).unwrap();
        deployed.targets.keys().map(|key| key.name.to_string()).collect()
    };
    scene.world.push("hello", "latest", "v1");
    pass(120).await;
    assert_eq!(repositories(), ["hello", "side"]);
    let ill = scene.world.push("hello", "dev", "ill");
    scene.world.set_health(&ill, Health::Never);
    let theirs =
        scene.world.register("pair", &[("app", &format!("{}@{ill}", image_uri("hello"))), ("side", "theirs:1")]);
    scene.world.interfere("web", "hello", &theirs);
    pass(60).await;
    let v2 = scene.world.push("hello", "latest", "v2");
    pass(120).await;
    assert_eq!(scene.world.settled_image("web", "hello", "app"), Some(v2));
    assert_eq!(repositories(), ["hello"], "its side is not ours");
}

#[tokio::test(start_paused = true)]
async fn one_more_question_is_asked_only_where_something_is_being_rolled_out() {
    for being_rolled_out in [false, true] {
        let mut scene = Scene::hello();
        let v0 = scene.v0.clone();
        let pinned = format!("{}@{v0}", image_uri("hello"));
        let good = scene.world.register("good", &[("app", &pinned)]);
        scene.world.create_service("web", "hello", &good, 2);
        scene.start();
        pass(2).await;
        if being_rolled_out {
            let ill = scene.world.push("hello", "dev", "ill");
            scene.world.set_health(&ill, Health::Never);
            let theirs = scene.world.register("good", &[("app", &format!("{}@{ill}", image_uri("hello")))]);
            scene.world.interfere("web", "hello", &theirs);
        }
        scene.world.forget_calls();
        scene.world.push("hello", "latest", "v1");
        scene
            .world
            .until("it is updated", Duration::from_secs(60), |world| world.count().contains_key("UpdateService"))
            .await;
        assert_eq!(scene.world.count()["DescribeTaskDefinition"], 1 + usize::from(being_rolled_out));
    }
}

#[tokio::test(start_paused = true)]
async fn ecs_is_not_overridden_while_it_begins_to_go_back_by_itself() {
    for (begins_after, updated) in [(0, 2), (20, 2), (45, 2), (600, 3)] {
        let mut scene = Scene::hello();
        scene.start();
        pass(2).await;
        let good = scene.world.push("hello", "latest", "good");
        pass(120).await;
        scene.world.edit_service("web", "hello", |service| {
            service.breaker_rolls_back = true;
            service.begins_back_after = SignedDuration::from_secs(begins_after);
        });
        let bad = scene.world.push("hello", "latest", "bad");
        scene.world.set_health(&bad, Health::BreaksAfter(Duration::from_secs(30)));
        pass(240).await;
        assert_eq!(scene.world.settled_image("web", "hello", "app"), Some(good), "{begins_after}");
        assert_eq!((scene.process().metric(FAILED), scene.process().metric(ROLLED_BACK)), (1.0, 1.0), "{begins_after}");
        let log = scene.world.log_of("web", "hello");
        assert_eq!(log.len(), updated, "{begins_after}: {log:#?}");
        if let [_, bad, back] = &log[..] {
            // It broke after 30 s, was seen within 5 s more, and ECS had a minute.
            let took = back.at.duration_since(bad.at).as_secs();
            assert!((90..=97).contains(&took), "{took}");
        }
        scene.kill().await;
    }
}

#[tokio::test(start_paused = true)]
async fn pushing_again_what_is_held_says_how_to_try_it_again() {
    let mut scene = Scene::hello();
    let receiver = format!("\n[[notify]]\nname = \"ops\"\nsns = \"{TOPIC}\"\noutcomes = [\"failed\"]\n");
    scene = scene.configured(&(config("") + &receiver));
    scene.start();
    pass(2).await;
    let bad = scene.world.push("hello", "latest", "bad");
    scene.world.set_health(&bad, Health::BreaksAfter(Duration::from_secs(30)));
    pass(300).await;
    assert_eq!(scene.process().metric(FAILED), 1.0);
    let again = |digest: &str| {
        let digest = digest.to_owned();
        scene.world.tell_of_no_push("hello", "latest", |body| {
            body["errorCode"] = "ImageAlreadyExistsException".into();
            body["responseElements"] = Value::Null;
            body["requestParameters"]["imageDigest"] = digest.into();
        });
    };
    again(&manifest_digest("another"));
    pass(60).await;
    let told = |kind: &str| -> Vec<Value> {
        let messages =
            scene.world.messages(TOPIC).into_iter().map(|message| serde_json::from_str(&message.text).unwrap());
        messages.filter(|notification: &Value| notification["kind"] == kind).collect()
    };
    assert_eq!(told("held_push"), Vec::<Value>::new(), "that one is not held");
    again(&bad);
    pass(120).await;
    let notifications = told("held_push");
    assert_eq!(notifications.len(), 1, "once: {notifications:#?}");
    let push = &notifications[0]["push"];
    assert_eq!((&push["tag"], &push["digest"]), (&"latest".into(), &bad.as_str().into()));
    assert_eq!(push["release"], "ecs-deployd release web/hello");
    let decision = scene.status().await.pushes[0].clone();
    assert_eq!((decision.decision.as_str(), decision.tag.as_deref()), ("failed_push", Some("latest")));
    assert!(decision.detail.contains("to try it again: ecs-deployd release web/hello"), "{}", decision.detail);
    // What was said to be typed does it.
    scene.world.set_health(&bad, Health::After(Duration::from_secs(10)));
    scene.process().command("web/hello", OperatorCommand::Release).await.unwrap();
    pass(120).await;
    assert_eq!(scene.world.settled_image("web", "hello", "app"), Some(bad));
}
