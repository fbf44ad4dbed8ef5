//! Gates over more than one repository, and together with the hooks of ECS.

use ecs_deployd::domain::operator_command::OperatorCommand;

use crate::gates::{approve, of, waits};
use crate::harness::pass;
use crate::scene::Scene;
use crate::world::{LifecycleHook, image_uri};

/// Staging is `web/hello` and follows `hello`. Production is `web/prod` and follows a repository of its own, into which images are copied.
async fn copied() -> Scene {
    copied_with("", |_| {}).await
}

/// The same with these tables, after something has happened before the start.
async fn copied_with(tables: &str, before: impl FnOnce(&Scene)) -> Scene {
    let scene = Scene::hello();
    let fixed = scene.revision_of_v0(&[]);
    scene.world.create_repository("copy");
    let v0 = scene.world.push("copy", "latest", "v0");
    assert_eq!(v0, scene.v0, "a copy has the same digest");
    let revision = scene.world.register("prod", &[("app", &format!("{}@{v0}", image_uri("copy")))]);
    scene.world.create_service("web", "prod", &revision, 2);
    let repository = |name: &str, service: &str, gate: &str| {
        format!(
            "[[repository]]\nname = \"{name}\"\ntags = [\"latest\"]\n[[repository.service]]\ncluster = \"web\"\nservice = \"{service}\"\n{gate}"
        )
    };
    let gate = "after = [\"web/hello\"]\nbake = \"10m\"\n";
    let config = "[deploy]\ntimeout = \"5m\"\n".to_owned()
        + &repository("hello", "hello", "")
        + &repository("copy", "prod", gate);
    before(&scene);
    scene.running(&fixed).configured(&config).with(tables).started().await
}

fn prod(scene: &Scene) -> Option<String> {
    scene.runs_in("prod", "app")
}

#[tokio::test(start_paused = true)]
async fn production_with_a_repository_of_its_own_waits_for_the_copy_of_what_staging_proved() {
    let mut scene = copied().await;
    // The tag moves on, and the copy is gone again before staging has proved it.
    let v1 = scene.world.push("copy", "latest", "v1");
    pass(60).await;
    scene.world.push("copy", "latest", "other");
    scene.world.delete_image("copy", &v1);
    assert_eq!(scene.deployed("v1").await, v1);
    pass(1200).await;
    assert_eq!(prod(&scene), Some(scene.v0.clone()), "what is not in its repository cannot be rolled out");
    let waiting = waits(&scene, "web/prod", "after").await;
    let reason = format!("web/hello runs {v1}, which is not in the repository default/copy");
    assert!(waiting.reason.starts_with(&reason) && waiting.reason.ends_with("push it there"), "{waiting}");
    scene.restart().await;
    pass(600).await;
    assert_eq!(prod(&scene), Some(scene.v0.clone()));
    // The copy opens the gate.
    assert_eq!(scene.world.push("copy", "latest", "v1"), v1);
    pass(120).await;
    assert_eq!(prod(&scene), Some(v1));
    let revision = scene.world.revision_of("web", "prod");
    assert!(revision.contains("prod:2"), "{revision}");
    assert!(of(&scene, "web/prod").await.waiting.is_none());
}

#[tokio::test(start_paused = true)]
async fn production_waits_for_a_copy_that_nobody_pushed_and_people_are_told() {
    const OPS: &str = "arn:aws:sns:eu-west-1:111111111111:ops";
    let receiver = format!("[[notify]]\nname = \"ops\"\nsns = \"{OPS}\"\noutcomes = [\"waiting\"]\n");
    let mut scene = copied_with(&receiver, |_| {}).await;
    let v1 = scene.deployed("v1").await;
    pass(60).await;
    let waiting = waits(&scene, "web/prod", "after").await;
    let reason = format!("web/hello runs {v1}, and no push of it to the repository default/copy was seen");
    assert!(waiting.reason.starts_with(&reason), "{waiting}");
    assert_eq!(of(&scene, "web/prod").await.undecided, 0, "nothing was pushed to it");
    let plan = scene.plan().await;
    let planned = plan.services.iter().find(|one| one.name == "web/prod").unwrap();
    assert_eq!(planned.waiting.as_ref().map(|waiting| &waiting.reason), Some(&waiting.reason));
    assert!(planned.detail.contains(&format!("waits: {reason}")), "{}", planned.detail);
    scene.restart().await;
    pass(3600).await;
    assert_eq!(waits(&scene, "web/prod", "after").await.since, waiting.since);
    pass(48 * 3600).await;
    assert_eq!(scene.world.messages(OPS).len(), 1, "told once");
    assert_eq!(prod(&scene), Some(scene.v0.clone()));
    assert_eq!(scene.world.push("copy", "latest", "v1"), v1);
    pass(120).await;
    assert_eq!(prod(&scene), Some(v1));
    assert!(of(&scene, "web/prod").await.waiting.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_copy_from_before_the_start_is_brought_by_an_order() {
    let scene = copied_with("", |scene| drop(scene.world.push("copy", "latest", "v1"))).await;
    let v1 = scene.deployed("v1").await;
    pass(1200).await;
    assert_eq!(prod(&scene), Some(scene.v0.clone()), "what was pushed before is not deployed by itself");
    let waiting = waits(&scene, "web/prod", "after").await;
    assert!(waiting.reason.ends_with("bring it with: ecs-deployd deploy web/prod"), "{waiting}");
    scene.process().command("web/prod", OperatorCommand::Deploy).await.unwrap();
    pass(120).await;
    assert_eq!(prod(&scene), Some(v1));
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_comes_early_waits_until_staging_has_proved_it() {
    let scene = copied().await;
    let v1 = scene.world.push("copy", "latest", "v1");
    pass(1200).await;
    assert_eq!(
        waits(&scene, "web/prod", "after").await.reason,
        "web/hello does not run it: nothing was deployed to it yet"
    );
    scene.push("v1");
    pass(540).await;
    assert_eq!((scene.runs(), prod(&scene)), (Some(v1.clone()), Some(scene.v0.clone())), "it bakes");
    pass(600).await;
    assert_eq!(prod(&scene), Some(v1));
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_something_else_is_not_what_staging_proved() {
    let scene = copied().await;
    let v1 = scene.deployed("v1").await;
    let other = scene.world.push("copy", "latest", "other");
    pass(3600).await;
    let waiting = waits(&scene, "web/prod", "after").await;
    assert_eq!((waiting.digest.as_str(), waiting.reason.as_str()), (other.as_str(), "web/hello does not run it"));
    assert_eq!(prod(&scene), Some(scene.v0.clone()));
    scene.world.push("copy", "latest", "v1");
    pass(120).await;
    assert_eq!(prod(&scene), Some(v1));
}

#[tokio::test(start_paused = true)]
async fn an_image_at_a_hook_and_another_one_at_a_gate_are_approved_by_their_names() {
    let scene = Scene::hello().deploy("approval = \"required\"\n");
    let fixed = scene.revision_of_v0(&[]);
    let scene = scene.running(&fixed).edited(|service| service.hook = Some(LifecycleHook::PAUSE)).started().await;
    let v1 = scene.push("v1");
    pass(60).await;
    assert_eq!(waits(&scene, "web/hello", "approval").await.digest.as_str(), v1);
    scene.command(approve(Some(&v1))).await.unwrap();
    pass(60).await;
    assert_eq!(waits(&scene, "web/hello", "pause").await.digest.as_str(), v1);
    let v2 = scene.push("v2");
    pass(60).await;
    for gate in ["approval", "pause"] {
        let metric = format!(r#"ecs_deployd_waiting{{cluster="web",gate="{gate}",service="hello"}}"#);
        assert_eq!(scene.metric(&metric), 1.0, "{gate}");
    }
    let refused = scene.command(approve(None)).await.unwrap_err().0;
    assert!(refused.contains("say which with --image") && refused.contains(&v1) && refused.contains(&v2), "{refused}");
    assert!(scene.world.is_paused("web", "hello"));
    scene.command(approve(Some(&v1))).await.unwrap();
    pass(60).await;
    assert_eq!((scene.runs(), scene.ended("completed")), (Some(v1), 1.0), "the one at the hook goes on");
    assert_eq!(waits(&scene, "web/hello", "approval").await.digest.as_str(), v2);
    assert_eq!(scene.rollouts(), 1);
    scene.command(approve(Some(&v2))).await.unwrap();
    pass(60).await;
    assert_eq!(waits(&scene, "web/hello", "pause").await.digest.as_str(), v2, "its own rollout pauses in turn");
    scene.command(approve(Some(&v2))).await.unwrap();
    pass(60).await;
    assert_eq!((scene.runs(), scene.ended("completed")), (Some(v2), 2.0));
    assert!(of(&scene, "web/hello").await.waiting.is_none());
}
